"""Submits jobs, waits for one and cancels another, by nothing but the client that was generated from /openapi.json."""

import os

from longshore_client import Client
from longshore_client.api.jobs import cancel_job, list_jobs, submit_job, wait_for_job
from longshore_client.models import Job, Problem, StateName, SubmitRequest, Submitted

ENDED = (StateName.SUCCEEDED, StateName.FAILED, StateName.CANCELLED)

longshore = Client(base_url=os.environ.get("LONGSHORE_URL", "http://127.0.0.1:8000"), timeout=60)


def submit(**fields):
    answer = submit_job.sync(client=longshore, body=SubmitRequest.from_dict(fields))
    assert isinstance(answer, Submitted), answer
    return answer.job_id


def ended(job_id):
    while True:
        job = wait_for_job.sync(job_id, client=longshore, timeout="10s")
        assert isinstance(job, Job), job
        if job.state in ENDED:
            return job


# One that runs, and one that waits until it is cancelled.
short = submit(name="python", priority=2, command=["echo", "hello"], labels={"by": "python"})
later = submit(name="python-later", delay="1h", idempotency_key="python-later")
assert submit(name="python-later", delay="1h", idempotency_key="python-later") == later

done = ended(short)
assert done.state == StateName.SUCCEEDED, done
assert done.attempts[0].reason == "completed", done

cancelled = cancel_job.sync_detailed(later, client=longshore)
assert cancelled.status_code == 200, cancelled
assert ended(later).state == StateName.CANCELLED

# What is refused comes as a problem that has a type, too.
too_late = cancel_job.sync(short, client=longshore)
assert isinstance(too_late, Problem) and too_late.code == "already_finished", too_late
wrong = submit_job.sync(client=longshore, body=SubmitRequest(name=""))
assert isinstance(wrong, Problem) and wrong.errors[0].pointer == "/name", wrong

page = list_jobs.sync(client=longshore, name="python")
assert [job.job_id for job in page.items] == [short], page
print("python: submitted, waited and cancelled")
