"""`streamer web`: one page that shows what a running streamer recognises.

    publisher ──> PublisherFeed ──> PageState ──> ClientQueues: one for each browser ──> EventStream
        ^                                                                                    │
        └────────────────── PublisherRequests <── history, corrections <─────────────────────┘

Everything is on one event loop in a process of its own: a subscriber like any other, so that whatever happens
to the page or its readers, recognition does not notice. Starlette and uvicorn (the `web` extra) are imported
by this folder only.
"""
