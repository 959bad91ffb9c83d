"""
What every layer needs: frames, tracebacks, context variables, loans, text.

Nothing of a shell, and of Twisted nothing that needs its reactor to run.

Thread: any.
Entry points: `work_id:current_work`, `instance:override`, `loans:loans`, `frames:is_user_frame`.
May import: `_private`.
"""
