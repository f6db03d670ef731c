#!/usr/bin/env python3
"""Records what a command and its descendants use, twice a second: record.py OUT.csv memory|cpu|fds -- COMMAND...

Memory is the sum of Pss in bytes, cpu is seconds of CPU time in the interval, fds is the number of open descriptors.
"""
import os, subprocess, sys, time

INTERVAL = 0.5
TICK = os.sysconf('SC_CLK_TCK')


def descendants(root):
    children = {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            stat = open(f'/proc/{entry}/stat').read()
        except OSError:
            continue
        children.setdefault(int(stat.rsplit(')', 1)[1].split()[1]), []).append(int(entry))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def memory(pid):
    lines = open(f'/proc/{pid}/smaps_rollup').read().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith('Pss:'))


def cpu(pid):
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return sum(map(int, fields[11:15])) / TICK


def fds(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def total(measure, root):
    value = 0
    for pid in descendants(root):
        try:
            value += measure(pid)
        except OSError:
            pass
    return value


def main():
    out, what, dashes, *command = sys.argv[1:]
    assert dashes == '--' and what in ('memory', 'cpu', 'fds'), __doc__
    measure = {'memory': memory, 'cpu': cpu, 'fds': fds}[what]
    tool, start, before = subprocess.Popen(command, stdout=subprocess.DEVNULL), time.monotonic(), 0
    with open(out, 'w') as file:
        file.write('timestamp,usage\n')
        row = 0
        while tool.poll() is None:
            value = total(measure, tool.pid)
            # Time of children counts with their parent once it has waited for them.
            shown, before = (max(value - before, 0), max(value, before)) if what == 'cpu' else (value, value)
            file.write(f'{row * INTERVAL:g},{shown:g}\n' if what == 'cpu' else f'{row * INTERVAL:g},{shown}\n')
            row += 1
            time.sleep(max(0, start + row * INTERVAL - time.monotonic()))


main()
