"""The example's settings: SQLite by default, PostgreSQL where DATABASE_URL says so."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EXAMPLE_DATA", HERE / ".data"))
DATA.mkdir(parents=True, exist_ok=True)

SECRET_KEY = "an example's, for this machine alone"  # noqa: S105 - it guards nothing
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "backbeat_django",
    "network",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "project.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, object]:
    url = urlsplit(os.environ.get("DATABASE_URL", ""))
    if url.scheme.startswith("postgres"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path.lstrip("/"),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname or dict(part.split("=", 1) for part in url.query.split("&") if part).get("host", ""),
            "PORT": str(url.port or ""),
        }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "network.sqlite3", "OPTIONS": {"timeout": 20}}


DATABASES = {"default": _database()}
AUTH_USER_MODEL = "network.Member"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "feed"
LOGOUT_REDIRECT_URL = "feed"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

BACKBEAT = {
    "STACK": os.environ.get("BACKBEAT_STACK") or "backbeat-local",
    "USER": {
        "digest": "wants_digest",
        "results": {
            "digest": "wants_digest",
            "email_status": "email_status",
            "followers_count": "followers_count",
            "following_count": "following_count",
            "posts_count": "posts_count",
        },
    },
    "POST": {
        "model": "network.Post",
        "author": "author",
        "text": "text",
        "created_at": "created_at",
        "visibility": "visibility",
        "views": "views",
        "results": {
            "score": "score",
            "hidden": "is_hidden",
            "deleted": "delete",
            "media": "media",
            "media_status": "media_status",
            "media_reason": "media_reason",
        },
    },
    "COMMENT": {
        "model": "network.Comment",
        "post": "post",
        "author": "author",
        "text": "text",
        "created_at": "created_at",
    },
    "LIKE": {"model": "network.Like", "post": "post", "user": "member", "created_at": "created_at"},
    "SHARE": {"model": "network.Share", "post": "post", "user": "member", "created_at": "created_at"},
    "FOLLOW": {"model": "network.Follow", "follower": "follower", "followed": "followed", "created_at": "created_at"},
    "TRENDING": {
        "model": "network.Hashtag",
        "tag": "name",
        "results": {"trending": "is_trending", "posts": "posts_count"},
    },
    "NOTIFICATION": {
        "model": "network.Notification",
        "id": "backbeat_id",
        "user": "member",
        "kind": "kind",
        "text": "text",
        "link": "link",
        "created_at": "created_at",
    },
}
