"""Backbeat: the background work of a social network, as serverless functions.

This is a map of it. Modules import each other without a circle, which a test holds, as it holds the map to be whole.

Sending: all that a producer needs, with boto3 and msgspec
    tasks               every task, declared once: what a producer imports, and where a new task begins
    producer            what a declared task is: `.delay()`, `.apply_async()`, retries, priority classes
    messages            what travels, in one form, whoever sent it
    sent                what `.delay()` returns: the id, and what became of it
    trials              what `backbeat verify` makes, told by its name from the network's own
    queues              what the queues are called, and the one way to put a message on one
    aws                 the process's clients with their time-outs, and the stack's name
    text                what people write, made fit to show

Data: the tables, for the tasks and the application alike
    models              users, posts, tokens, trends, reports, mail, notifications, runs; writes on a condition

Running: what every function has around it
    runtime             from a delivery to an outcome: `@implementation`, `Run`, `Rejected`, `Skipped`
    heartbeat           signs of life of work that takes long
    ledger              what ran, when, how it ended and why
    letters             dead letters: what lies in a task's dead queue, whoever put it there
    events              finished runs, told to whoever listens, where the stack says so
    logs                the log, and what never gets into it: anyone's mail address
    sweeps              runs in parts, and watermarks

Mail: what the tasks that send emails share
    mail.sending        an email rendered, put together, and handed to SES once
    mail.deliveries     what became of each email: the states that keep it from being sent twice
    mail.addresses      the one form in which an address is sent to, and compared
    mail.names          what an email calls somebody
    mail.digest         what a week's digest holds
    mail.unsubscribing  signed links that end the digest

Posts: what belongs to a post beside its row
    posts.hashtags      the hashtags of a text
    posts.files         its uploads and renditions: their keys, every version of them
    posts.archive       what is kept of deleted posts, to restore them from

For applications, beside the tasks and the models
    app.celery          old names of Celery tasks that lead to the tasks here
    app.connecting      a stack found by its name, as `backbeat.connect`
    app.uploads         forms to upload with
    app.markup          markup that shows what became of an upload
    app.leaving         a user leaves, and comes back
    app.erasing         a user erased, everywhere
"""


def connect(stack: str) -> dict[str, str]:
    """Point this process's models, producers and upload forms at a deployed stack; see `backbeat.app.connecting`."""
    from backbeat.app import connecting  # here, as a producer has no PynamoDB

    return connecting.connect(stack)
