#!/usr/bin/env python3
"""Opens pages in Chromium for SECONDS, as a tool that drives a browser does: each in a browser of its own, with more on it or less,
and a while in between. browse.py SECONDS"""
import os, random, subprocess, sys, tempfile, time

FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-quic',
         '--disable-background-networking', '--disable-component-update', '--disable-sync', '--dump-dom']
PAGE = '<!DOCTYPE html><body><script>for (let i = 0; i < %d; i++) document.body.append(Object.assign(' \
       'document.createElement("p"), {textContent: "row " + i}));</script>'

random.seed(7)
start = time.monotonic()
while time.monotonic() - start < float(sys.argv[1]):
    with tempfile.TemporaryDirectory() as folder:
        page = os.path.join(folder, 'page.html')
        open(page, 'w').write(PAGE % random.choice([100, 1000, 5000, 20000]))
        subprocess.run(['chromium', *FLAGS, f'--user-data-dir={folder}/profile', f'file://{page}'],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.expovariate(0.25))
