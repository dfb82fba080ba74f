"""What the bridge keeps in the application's own database."""

from django.db import models


class Entry(models.Model):
    """One entry of the outbox: a row that has changed, or a message to a task.

    What a row's entry says is only *that* it has changed. The relay reads the row as it is by then, so an entry may be
    applied late, twice, or after a later one, and what Backbeat has is still the application's last word.

    Attributes:
        kind: Which kind of row, or `task`.
        key: The row's key in Backbeat's table, as a JSON list; of a message its task.
        fields: Which of the fields that tasks write as well were changed by the application, separated by commas.
        body: The message, as JSON.
        at: When it was written.
        error: Why the relay has set it aside; empty while it waits.
    """

    kind = models.CharField(max_length=20)
    key = models.CharField(max_length=600)
    fields = models.CharField(max_length=100, default="", blank=True)
    body = models.TextField(default="", blank=True)
    at = models.DateTimeField()
    error = models.TextField(default="", blank=True)

    class Meta:
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Lease(models.Model):
    """Who may write to Backbeat's tables: one relay or import at a time.

    Attributes:
        holder: Who has it, a random name.
        until: Until when, unless it is renewed.
    """

    name = models.CharField(max_length=40, primary_key=True)
    holder = models.CharField(max_length=40)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.holder} until {self.until}"


class Progress(models.Model):
    """How far something has come that goes on where it was cut off.

    Attributes:
        name: `import user`, `pull`, ...
        state: How far, as JSON.
    """

    name = models.CharField(max_length=60, primary_key=True)
    state = models.TextField()

    def __str__(self) -> str:
        return f"{self.name}: {self.state}"


class Board(models.Model):
    """A result that belongs to no row of the application's: `trending`, and `report <day>`.

    Attributes:
        value: The result, as JSON.
        as_of: The logical time of the run that made it.
    """

    name = models.CharField(max_length=60, primary_key=True)
    value = models.JSONField()
    as_of = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.name)
