"""The settings of the tests: the example's, beside whose models lie those of other projects."""

import os

from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

if not os.environ.get("DATABASE_URL"):
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "rest_framework_simplejwt.token_blacklist",
    "garden",
    "studio",
    "club",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
