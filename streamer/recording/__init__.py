"""Pictures of events, for people who turned them on: snapshots, clips and previews.

`files.py` says where they lie and needs the standard library only. `recorder.py` is what the pipeline feeds;
`h264_encoder.py` encodes, `disk_thread.py` writes, `retention.py` removes what is old, `preview.py` publishes
small pictures.
"""
