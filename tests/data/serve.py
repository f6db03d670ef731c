#!/usr/bin/env python3
"""A web server and its own load for SECONDS: requests come and go as over a day, which takes DAY seconds.
serve.py SECONDS DAY"""
import http.server, math, random, socketserver, sys, threading, time, urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kept = bytearray(random.randrange(1, 4) << 20)
        kept[::4096] = b'x' * len(kept[::4096])
        sum(i * i for i in range(20000))
        time.sleep(random.expovariate(4))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'done')

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 128


seconds, day = map(float, sys.argv[1:])
server = Server(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f'http://127.0.0.1:{server.server_port}/'
start = time.monotonic()
while (now := time.monotonic() - start) < seconds:
    rate = 6 + 5 * math.sin(2 * math.pi * now / day)
    threading.Thread(target=lambda: urllib.request.urlopen(url).read(), daemon=True).start()
    time.sleep(random.expovariate(rate))
