"""Posts one event twice with the CloudEvents Python SDK: in structured, then in binary mode, under the same id.

    python cloudevents_py.py SERVER_URL KEY

Prints {"ids": [id, id], "statuses": [..]}. Exit code 1 if one was not answered with 2xx.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


class Post(urllib.request.Request):
    """A POST with the SDK's headers only: urllib would add a form's content type where there is none."""

    def has_header(self, header_name):
        return header_name == "Content-type" or super().has_header(header_name)


def post(url, message):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(Post(url, data=message.body, headers=message.headers, method="POST"), timeout=30) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    server, key = sys.argv[1:]
    url = f"{server}/v1/events?key={urllib.parse.quote(key, safe='')}"
    attributes = {"type": "app.streamyyy.layout.created", "source": "/devices/py", "subject": "lay_01"}
    event = CloudEvent(attributes, {"layout_id": "lay_01", "slots": 4})
    statuses = [post(url, mode(event, JSONFormat())) for mode in (to_structured, to_binary)]
    print(json.dumps({"ids": [event.get_id()] * 2, "statuses": statuses}))
    return 0 if all(200 <= status < 300 for status in statuses) else 1


if __name__ == "__main__":
    sys.exit(main())
