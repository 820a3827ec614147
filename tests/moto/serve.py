"""SQS for a test: moto's server, on a port that is free, until whoever started it closes its standard input.

Two things are put right in moto, which is made for a few messages and one thread. It counts all messages of a queue, three
times and by the calendar, for each message that is sent or received; here they are counted when somebody asks how many there
are, and by the clock. And the list of messages changes under a lock: one that is sent while another is deleted is lost
otherwise, and no test could tell who lost it. That two receivers get the same message now and then stays as it is: so it is
with Amazon.
"""

import sys
import threading
import time

from moto.core.utils import camelcase_to_underscores
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs import models
from werkzeug.serving import WSGIRequestHandler, make_server

LOCK = threading.RLock()
COUNTS = [it for it in models.Queue.BASE_ATTRIBUTES if it.startswith("ApproximateNumberOf")]


def locked(method):
    def under_lock(*args):
        with LOCK:
            return method(*args)

    return under_lock


uncounted = models.SQSBackend.get_queue_attributes


def counted(backend, queue_name, names):
    queue = backend.get_queue(queue_name)
    attributes = uncounted(backend, queue_name, [it for it in names if it not in COUNTS])
    asked = COUNTS if "All" in names else [it for it in COUNTS if it in names]
    return attributes | {it: getattr(queue, camelcase_to_underscores(it)) for it in asked}


models.unix_time_millis = lambda: time.time() * 1000
models.Queue.BASE_ATTRIBUTES = [it for it in models.Queue.BASE_ATTRIBUTES if it not in COUNTS]
models.SQSBackend.get_queue_attributes = counted
models.Queue.add_message = locked(models.Queue.add_message)
models.Queue.delete_message = locked(models.Queue.delete_message)


class Quiet(WSGIRequestHandler):
    def log_request(self, *args):
        pass


app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
