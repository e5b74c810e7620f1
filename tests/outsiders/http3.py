"""Asks over HTTP/3, by aioquic, for URLs of one host; prints what comes back as JSON, a line each.

http3.py PORT CA HOST [--wait] {"path": …, "fields": {…}}…
Each request is {"path", "method", "host", "fields", "body"}, of which path is needed; all are sent at once. An
"unread" body is one that the other side does not take. With --wait the connection is kept until the other side
ends it, which is told by a last line.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Asker(QuicConnectionProtocol):
    """Keeps what comes back on each stream."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.whole = {}
        self.ended = asyncio.get_running_loop().create_future()

    def ask(self, host, request):
        """Sends one request; what comes back is a future."""
        stream = self._quic.get_next_available_stream_id()
        body = request.get("body", request.get("unread", "")).encode()
        head = [
            (b":method", request.get("method", "GET").encode()),
            (b":scheme", b"https"),
            (b":authority", request.get("host", host).encode()),
            (b":path", request["path"].encode()),
        ]
        head += [(name.encode(), value.encode()) for name, value in request.get("fields", {}).items()]
        self.answers[stream] = {"status": 0, "fields": {}, "body": ""}
        self.whole[stream] = asyncio.get_running_loop().create_future()
        self.http.send_headers(stream, head, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return self.whole[stream]

    def quic_event_received(self, event):
        """Called by aioquic."""
        if isinstance(event, ConnectionTerminated):
            if not self.ended.done():
                self.ended.set_result(event.error_code)
            for whole in self.whole.values():
                if not whole.done():
                    whole.set_result({"ended": event.error_code, "why": event.reason_phrase})
        if isinstance(event, StreamReset) and event.stream_id in self.whole:
            if not self.whole[event.stream_id].done():
                self.whole[event.stream_id].set_result({"reset": event.error_code})
        for told in self.http.handle_event(event):
            answer = self.answers.get(told.stream_id)
            if isinstance(told, HeadersReceived) and answer:
                for name, value in told.headers:
                    if name == b":status":
                        answer["status"] = int(value)
                    else:
                        answer["fields"][name.decode()] = value.decode()
            if isinstance(told, DataReceived) and answer:
                answer["body"] += told.data.decode()
            if isinstance(told, (HeadersReceived, DataReceived)) and answer and told.stream_ended:
                if not self.whole[told.stream_id].done():
                    self.whole[told.stream_id].set_result(answer)


async def main():
    """Asks for everything."""
    port, authority, host, *rest = sys.argv[1:]
    is_waiting = "--wait" in rest
    requests = [json.loads(text) for text in rest if text != "--wait"]
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host)
    config.verify_mode = ssl.CERT_REQUIRED
    config.load_verify_locations(authority)
    async with connect("127.0.0.1", int(port), configuration=config, create_protocol=Asker) as asker:
        answers = await asyncio.gather(*[asker.ask(host, request) for request in requests])
        for answer in answers:
            print(json.dumps(answer), flush=True)
        if is_waiting:
            print(json.dumps({"ended": await asker.ended}), flush=True)


asyncio.run(asyncio.wait_for(main(), 30))
