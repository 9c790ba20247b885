"""Runs agents in many workers on one store: each session has one worker, and another one if that is lost.

    API server                          worker
    commit                              fetch the job, acquire the lease
    defer a job, unless the session     ├ signal the engine what the session's row asks for, after each change
      has an owner; it is notified      └ nothing left to do: release the lease, end the job

A job of the queue (procrastinate, in the store's database) is an activation of a session: be its worker until there is
nothing to do. The rows say what is to be done, a job only where. Only one job of a session is worked on at
a time, and what a worker writes needs the lease, so a worker that is taken for dead can do no harm when it is not.
"""
