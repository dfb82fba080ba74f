"""unsubscribe: what the links in emails lead to, at the function's own URL. It is no task, as it answers a person.

A GET only asks, as mail scanners follow links. A POST ends the digest: the button's, or a mail client's own
one-click request (RFC 8058), which brings no cookie and cannot be asked anything.
"""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from backbeat.logs import logger
from backbeat.mail import sending, unsubscribing
from backbeat.mail.unsubscribing import ExpiredLink, InvalidLink
from backbeat.models import Changed, User

WORDS = {
    "en": {
        "ask": ("Unsubscribe?", "You will no longer get the weekly digest."),
        "done": ("You are unsubscribed", "You will get no more digests. You can turn them on again in your settings."),
        "expired": ("This link has expired", "Use the link in a newer email, or turn the digest off in your settings."),
        "invalid": ("This link does not work", "It may have been cut off. Try the link in the email again."),
    },
    "fr": {
        "ask": ("Se désabonner ?", "Vous ne recevrez plus le résumé de la semaine."),
        "done": ("C'est fait", "Vous ne recevrez plus le résumé. Vous pouvez le réactiver dans vos paramètres."),
        "expired": ("Ce lien a expiré", "Utilisez le lien d'un e-mail plus récent, ou vos paramètres."),
        "invalid": ("Ce lien ne fonctionne pas", "Il est peut-être incomplet. Réessayez depuis l'e-mail."),
    },
}
BUTTON = {"en": "Unsubscribe", "fr": "Se désabonner"}


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request to the function's URL."""
    logger.append_keys(request_id=context.aws_request_id)
    request = event["requestContext"]
    method = request["http"]["method"]
    headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
    asked_in = headers.get("accept-language", "")[:2].lower()
    locale = asked_in if asked_in in WORDS else "en"
    if method not in ("GET", "HEAD", "POST"):
        return _page(405, "invalid", locale, allow="GET, HEAD, POST")
    asked_at = datetime.fromtimestamp(request["timeEpoch"] / 1000, UTC)
    token = (event.get("queryStringParameters") or {}).get("token", "")
    try:
        user_id = unsubscribing.user_of(token, asked_at)
        user = User.get(user_id)
    except ExpiredLink:
        return _page(410, "expired", locale)
    except (InvalidLink, User.DoesNotExist) as error:
        logger.info("refused", extra={"why": str(error)})
        return _page(403, "invalid", locale)
    locale = sending.locale_of(user)
    if method != "POST":
        return _page(200, "ask", locale)
    Changed.note("user", user.user_id)
    user.update(actions=[User.digest.set(False)], condition=User.user_id.exists())
    logger.info("unsubscribed", extra={"user_id": user_id})
    return _page(200, "done", locale)


def _page(status: int, what: str, locale: str, **headers: str) -> dict[str, Any]:
    title, text = WORDS[locale][what]
    button = f'<form method="post"><button>{BUTTON[locale]}</button></form>' if what == "ask" else ""
    return {
        "statusCode": status,
        "headers": {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-robots-tag": "noindex",
            **headers,
        },
        "body": PAGE.format(locale=locale, title=title, text=text, button=button),
    }


PAGE = """<!doctype html>
<html lang="{locale}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5; }}
  body {{ display: grid; place-items: center; min-height: 90vh; margin: 0; }}
  main {{ max-width: 26rem; padding: 1.5rem; }}
  h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
  button {{ font: inherit; font-weight: 600; padding: .8rem 1.6rem; border: 0; border-radius: .6rem;
            background: #3d55e0; color: #fff; cursor: pointer; }}
</style>
<main><h1>{title}</h1><p>{text}</p>{button}</main>
</html>
"""
