"""The commands of `backbeat`, one file a subject; `backbeat_ops.cli` puts them together.

A command asks for what it needs, calls a module beside this package (runs, schedules, mail, status, ...), and prints
the answer. Those modules know neither typer nor rich, so that a page can show the same answers.

They speak with one voice:

- *Help*. A command's begins with what it does, in the imperative. An argument's or option's says what it is. Both are
  sentences, or read as one: a capital first, a full stop last.
- *Options*. One thing has one name: `--json`, `--yes`, `--force`, `--wait`, `--timeout SECONDS`, `--at TIME`,
  `--day DAY`, `--limit`; `backbeat_ops.terminal` holds them. A flag has no `--no-...`. Every command takes `--json`.
- *Answers* go to stdout, in sentences, a table, or JSON alone. What is being done goes to stderr. A run has one shape
  in JSON: `backbeat_ops.runs.shown`.
- *Errors* go to stderr as `backbeat: ` and a sentence that names what is wrong, in quotes as it was given, and what
  helps: "There is no task 'x'. Tasks: a, b." What AWS says begins with `AWS says:`, and typer says itself what cannot
  be read as a call.
- *Exit codes*. 0: done. 1: it could not be done, or what was waited for has failed. 2: it cannot be read as a call,
  whatever the stack holds; nothing has been done. 130: Ctrl-C.
- *Questions*. Only what cannot be undone, or writes much to AWS, asks first, names what it is about, and takes `--yes`.
- *Words*. It is the local cloud; the emulator is the program inside it. What is missing "is not there" or "there is no"
  of it; nothing is "found" or "invalid".
"""
