"""`streamer speak`: says aloud what the cameras see; and what to say when, which captions share.

message -> policy.py -> queue.py -> speaker.py (a thread) -> voices.py (a child process) -> sound
                                          -> account.py: what became of each utterance
"""
