"""Draws docs/architecture.svg from the declarations and the template: `make drawing`.

A row is a task. On its left is what triggers it, on its right what its role lets it read and write.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from html import escape

from permissions import granted
from pieces import NO_TASKS, complete
from support import ROOT, arn, logical_ids, logical_name, resolve, resources, template

from backbeat.producer import PRIORITIES
from backbeat_ops.schedules import in_words

FILE = ROOT / "docs/architecture.svg"

PRODUCER = "producer: .delay(), CLI"
SCHEDULER = "EventBridge Scheduler"
URL = "link in an email"
MAIL = "SES"

ACTIONS = {
    "reads": [
        *("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"),
        *("s3:GetObject", "s3:GetObjectVersion"),
    ],
    "writes": [
        *("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"),
        *("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"),
        "ses:SendEmail",
    ],
}


@dataclass(frozen=True)
class Row:
    """One function.

    Attributes:
        name: The task's name, or the function's where it is no task.
        task_class: The task's class, or "" where it is no task.
        when: Its schedule in words, or "".
        triggers: What puts messages on its queue, or calls it.
        reads: The tables and buckets that it may read.
        writes: Those that it may write, and `SES` where it may send mail.
    """

    name: str
    task_class: str
    when: str
    triggers: frozenset[str]
    reads: frozenset[str]
    writes: frozenset[str]


def scheduled() -> dict[str, str]:
    """The tasks that a schedule fires, each with its schedule in words."""
    found = [schedule["Properties"] for schedule in resources("AWS::Scheduler::Schedule").values()]
    return {schedule["Name"]: in_words(schedule["ScheduleExpression"]) for schedule in found}


def triggers() -> dict[str, set[str]]:
    """What puts messages on queues beside producers, each with the ARNs of those queues."""
    found: dict[str, set[str]] = {}
    for bucket, resource in resources("AWS::S3::Bucket").items():
        for notice in resource["Properties"].get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            found.setdefault(f"S3 {short(bucket)[:-1]}", set()).add(resolve(notice["Queue"]))
    for resource in resources("AWS::Scheduler::Schedule").values():
        found.setdefault(SCHEDULER, set()).add(resolve(resource["Properties"]["Target"]["Arn"]))
    for resource in resources("AWS::Events::Rule").values():
        if "EventBusName" in resource["Properties"]:
            continue  # what a stack's own bus tells is for applications
        (source,) = resource["Properties"]["EventPattern"]["source"]
        for target in resource["Properties"]["Targets"]:
            found.setdefault(f"{source.removeprefix('aws.').upper()} events", set()).add(resolve(target["Arn"]))
    return found


def short(logical_id: str) -> str:
    """What a table or a bucket is for: `ReportsTable` is `reports`, `ReportsBucket` is `reports/`."""
    return logical_id.removesuffix("Table").removesuffix("Bucket").lower() + "/" * logical_id.endswith("Bucket")


def stores() -> dict[str, str]:
    """The columns of the right side, each with its kind: tables in the order of the functions' variables, then buckets,
    then SES."""
    variables = template()["Globals"]["Function"]["Environment"]["Variables"].values()
    tables = [short(name) for value in variables for name in logical_ids(value) & {*resources("AWS::DynamoDB::Table")}]
    buckets = [short(name) for name in resources("AWS::S3::Bucket")]
    return {**dict.fromkeys(tables, "tables"), **dict.fromkeys(buckets, "buckets"), MAIL: "mail"}


def touched(role: str, kind: str) -> frozenset[str]:
    """The stores that a role may read, or write."""
    there = {arn(name): short(name) for name in [*resources("AWS::DynamoDB::Table"), *resources("AWS::S3::Bucket")]}
    found = set()
    for allowed, resource in granted(role):
        if any(fnmatchcase(action, allowed) for action in ACTIONS[kind]):
            place = resource.partition("/index/")[0] if ":dynamodb:" in resource else resource.partition("/")[0]
            found.add(MAIL if allowed.startswith("ses:") else there[place])
    return frozenset(found)


def rows() -> list[Row]:
    """Every function, the tasks by class, the most important first."""
    when, sources = scheduled(), triggers()
    found = []
    for task in sorted(complete().values(), key=lambda task: -PRIORITIES[task.task_class]):
        name = logical_name(task.name)
        queue, role = arn(f"{name}Queue"), f"{name}Role"
        fed = {source for source, queues in sources.items() if queue in queues} | {PRODUCER}
        found.append(
            Row(
                name=task.name,
                task_class=task.task_class,
                when=when.get(task.name, ""),
                triggers=frozenset(fed),
                reads=touched(role, "reads"),
                writes=touched(role, "writes"),
            )
        )
    for logical_id, resource in resources("AWS::Serverless::Function").items():
        name = resource["Properties"]["CodeUri"].rpartition("/")[2]
        if name in NO_TASKS:
            role = logical_id.removesuffix("Function") + "Role"
            reads, writes = touched(role, "reads"), touched(role, "writes")
            found.append(Row(name, "", "", frozenset({URL}), reads, writes))
    return found


STYLE = """
svg { --paper: #fff; --band: #f3f5f8; --ink: #1f2328; --dim: #59636e; --rule: #d3dae2; --box: #fff; --dead: #cf222e;
      --c0: #1a7f37; --c1: #8250df; --c2: #bc4c00; --c3: #0969da; --c4: #bf3989; --tables: #0b7285; --buckets: #1a7f37;
      --mail: #bc4c00; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --band: #171d26; --ink: #e6edf3; --dim: #9aa4af; --rule: #353d48; --box: #0d1117;
        --dead: #ff7b72; --c0: #3fb950; --c1: #b392f0; --c2: #f0883e; --c3: #58a6ff; --c4: #f778ba;
        --tables: #39c5cf; --buckets: #3fb950; --mail: #f0883e; }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.name, .family { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
.name { font-size: 12.5px; }
.family { font-size: 10px; }
.class { font-weight: 600; font-size: 14px; }
.heading { font-weight: 600; font-size: 13px; }
.family, .dim, .when { fill: var(--dim); }
.when, .dim { font-size: 11.5px; }
.paper { fill: var(--paper); }
.band { fill: var(--band); }
.box { fill: var(--box); stroke: var(--rule); stroke-width: 1.2; }
.flow { stroke: var(--dim); stroke-width: 1.4; fill: none; }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { stroke-width: 2.4; fill: none; }
.message { fill: var(--dim); }
.dead { fill: none; stroke: var(--dead); stroke-width: 1.4; }
circle { stroke-width: 1.8; }
.reads { fill: var(--box); }
"""

CLASS_AT, TRIGGER_AT, QUEUE_AT, FUNCTION_AT, STORE_AT = 32, 196, 340, 450, 816
TRIGGER_STEP, STORE_STEP, STORE_GAP = 26, 21, 12
FUNCTION_WIDE, WIDE = 330, 1240
TOP, ROW, PAD, GAP = 172, 32, 7, 8


def text(x: float, y: float, words: str, kind: str = "", more: str = "") -> str:
    given = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{given}{more}>{escape(words)}</text>'


def slanted(x: float, words: str, colour: str) -> str:
    """A column's label, which rises to the right from the column's top."""
    turned = f' transform="rotate(-45 {x:g} {TOP - 16})" style="fill: var(--{colour})"'
    return text(x, TOP - 16, words, "column", turned)


def dot(x: float, y: float, kind: str, colour: str) -> str:
    style = f"stroke: var(--{colour})" + ("" if kind == "reads" else f"; fill: var(--{colour})")
    return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="5" style="{style}"/>'


def queue(y: float) -> list[str]:
    """A queue with messages on it, and its dead queue below."""
    messages = [
        f'<rect class="message" x="{QUEUE_AT + 8 + 13 * n}" y="{y - 5:g}" width="9" height="10" rx="2"/>'
        for n in range(4)
    ]
    return [
        f'<rect class="box" x="{QUEUE_AT}" y="{y - 10:g}" width="65" height="20" rx="5"/>',
        *messages,
        f'<rect class="dead" x="{QUEUE_AT + 71}" y="{y - 6:g}" width="11" height="12" rx="2"/>',
        f'<path class="dead" d="M{QUEUE_AT + 73.5} {y - 3:g}l6 6m0 -6l-6 6"/>',
    ]


def draw() -> str:
    """The drawing, as SVG."""
    functions = rows()
    sources = [URL, *sorted(triggers(), key=lambda name: name == SCHEDULER), PRODUCER]
    trigger_at = {name: TRIGGER_AT + TRIGGER_STEP * n for n, name in enumerate(sources)}
    groups = list(dict.fromkeys(stores().values()))
    store_at = {
        name: STORE_AT + STORE_STEP * n + STORE_GAP * groups.index(group)
        for n, (name, group) in enumerate(stores().items())
    }
    columns: list[str] = []
    bands: list[str] = []
    lines: list[str] = []
    drawn: list[str] = []
    last_fed: dict[str, float] = {}
    y: float = TOP
    for task_class in dict.fromkeys(row.task_class for row in functions):
        members = [row for row in functions if row.task_class == task_class]
        height = len(members) * ROW + 2 * PAD
        bands.append(f'<rect class="band" x="16" y="{y:g}" width="{WIDE - 32}" height="{height}" rx="9"/>')
        middle = y + height / 2
        if task_class:
            bands.append(
                f'<g class="family-of">{text(CLASS_AT, middle - 2, task_class, "class")}'
                f"{text(CLASS_AT + 106, middle - 2, f'{PRIORITIES[task_class]}', 'dim priority')}"
                f"{text(CLASS_AT, middle + 13, f'<stack>-{task_class}-…', 'family')}</g>"
            )
        else:
            bands.append(text(CLASS_AT, middle + 4, "answers without a queue", "dim"))
        for n, row in enumerate(members):
            at = y + PAD + ROW * n + ROW / 2
            drawn.extend(draw_row(row, at, trigger_at, store_at))
            last_fed.update(dict.fromkeys(row.triggers, at))
        y += height + GAP
    for n, (name, at) in enumerate(trigger_at.items()):
        columns.append(slanted(at, name, f"c{n}"))
        lines.append(f'<path class="line" d="M{at} {TOP - 10}V{last_fed[name]:g}" style="stroke: var(--c{n})"/>')
    for name, at in store_at.items():
        columns.append(slanted(at, name, stores()[name]))
        lines.append(f'<path class="grid" d="M{at:g} {TOP - 10}V{y - GAP:g}"/>')
    headings = [
        text(CLASS_AT, 34, "Class, and priority", "heading"),
        text(TRIGGER_AT - 8, 34, "Trigger", "heading"),
        text(QUEUE_AT, 34, "Queue", "heading"),
        text(FUNCTION_AT, 34, "Function", "heading"),
        text(STORE_AT - 8, 34, "may read ○ and write ●", "heading"),
    ]
    legend = y + 16
    foot = [
        *queue(legend),
        text(QUEUE_AT + 94, legend + 4, "messages that wait, and the dead queue beside them", "dim"),
        text(STORE_AT - 8, legend + 4, "tables, then buckets, then mail; runs is the ledger", "dim"),
        text(CLASS_AT, legend + 4, "priority: a class's share of the capacity", "dim"),
    ]
    high = legend + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high:g}" role="img" aria-labelledby="title">',
        '<title id="title">Every trigger, queue, task and table of Backbeat</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDE}" height="{high:g}" rx="12"/>',
        *headings,
        *bands,
        *lines,
        *columns,
        *drawn,
        *foot,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def draw_row(row: Row, y: float, trigger_at: dict[str, float], store_at: dict[str, int]) -> list[str]:
    first = min(trigger_at[name] for name in row.triggers)
    end = QUEUE_AT if row.task_class else FUNCTION_AT
    parts = [f'<path class="flow" d="M{first} {y:g}H{end - 5}m-5 -4l5 4l-5 4"/>']
    if row.task_class:
        parts += queue(y)
        parts.append(f'<path class="flow" d="M{QUEUE_AT + 86} {y:g}H{FUNCTION_AT - 4}m-5 -4l5 4l-5 4"/>')
    parts.append(f'<rect class="box" x="{FUNCTION_AT}" y="{y - 12:g}" width="{FUNCTION_WIDE}" height="24" rx="6"/>')
    parts.append(text(FUNCTION_AT + 10, y + 4, "λ", "dim"))
    parts.append(text(FUNCTION_AT + 26, y + 4, row.name, "name"))
    if row.when:
        parts.append(text(FUNCTION_AT + FUNCTION_WIDE - 10, y + 4, row.when.strip("`"), "when", ' text-anchor="end"'))
    used = [at for name, at in store_at.items() if name in row.reads | row.writes]
    if used:
        parts.append(f'<path class="flow" d="M{FUNCTION_AT + FUNCTION_WIDE} {y:g}H{max(used)}"/>')
    for n, name in enumerate(trigger_at):
        if name in row.triggers:
            parts.append(dot(trigger_at[name], y, "trigger", f"c{n}"))
    for name, group in stores().items():
        if name in row.reads | row.writes:
            parts.append(dot(store_at[name], y, "writes" if name in row.writes else "reads", group))
    return [f'<g class="task">{"".join(parts)}</g>']


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
