"""Says aloud what the cameras see.

message -> narration -> speech_queue.py -> speaker.py (a thread) -> voices.py (a child process) -> sound
                                            -> utterance_log.py: what became of each utterance
"""
