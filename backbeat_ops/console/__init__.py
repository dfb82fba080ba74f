"""The console: a stack in a browser, on the operator's own machine and with the operator's own credentials.

`guard` lets nobody else in, `app` puts the pages together, `server` serves them; `views` has what all pages share, and
`draw` their pictures. Each page is a module of `pages`, and a template of the same name. What a page shows comes from
the modules of `backbeat_ops` that the commands show, too.
"""
