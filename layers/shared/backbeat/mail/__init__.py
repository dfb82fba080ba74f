"""Emails: put together and sent once, settled by what SES tells, ended by a signed link."""
