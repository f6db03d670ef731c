#!/bin/busybox sh
# The first process of a virtual machine: gives the tests a host, runs every test binary, and turns the machine off.
# xtask/src/vm/report.rs reads the lines that begin with @vm.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ TERM=dumb

/bin/busybox mount -t devtmpfs none /dev
exec </dev/null >/dev/console 2>&1
/bin/busybox --install -s
# What the kernel reports would break the tests' lines in two; a panic is still shown.
dmesg -n 1

# tracefs and bpffs are left to the agent.
mount -t proc none /proc
mount -t sysfs none /sys
mount -t securityfs none /sys/kernel/security
mount -t cgroup2 none /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
ip link set lo up

# The variables, the arguments and the folder of the tests, as this run wants them.
. /t/settings

echo "@vm kernel $(uname -r)"
for test in /t/debug/deps/*; do
    case ",$left_out," in *",${test##*/},"*) continue ;; esac
    echo "@vm begin ${test##*/}"
    "$test" "$@"
    status=$?
    echo "@vm end ${test##*/} $status"
    # Emulated as it is, the machine may have kept a test waiting: it has a second turn, one test at a time, and that is told.
    if [ $status -ne 0 ]; then
        echo "@vm again ${test##*/}"
        "$test" "$@" --test-threads=1
        echo "@vm end ${test##*/} $?"
    fi
done
dmesg | grep -E 'WARNING: |BUG: |Oops|rcu: INFO' | sed 's/^/@vm complaint /'
echo "@vm done"
poweroff -f
