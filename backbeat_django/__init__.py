"""Backbeat beside Django: a network on its own database has its background work done.

Signals write what changes to an outbox, in the application's own transaction; `manage.py backbeat_relay` carries it to
Backbeat's tables; `manage.py backbeat_pull` brings back what the tasks made of it. One dictionary in the settings,
`BACKBEAT`, says where the application keeps what the tasks read; see docs/django.md.
"""
