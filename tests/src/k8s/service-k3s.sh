#!/bin/bash
# The lab's service manager for k3s: it runs a unit's ExecStart, and starts it again when it ends.
set -u
unit() {
  local command
  command=$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$1.service")
  echo $$ >"/run/$1.pid"
  while :; do
    # shellcheck disable=SC2086
    $command >>"/var/log/$1.log" 2>&1
    sleep 1
  done
}

stop() {
  local pid=/run/$1.pid
  [ -e "$pid" ] || return 0
  kill -TERM -- "-$(cat "$pid")" 2>/dev/null
  for _ in $(seq 100); do kill -0 -- "-$(cat "$pid")" 2>/dev/null || break; sleep 0.1; done
  kill -KILL -- "-$(cat "$pid")" 2>/dev/null
  rm -f "$pid"
}

name=${!#}
case "$*" in
daemon-reload | "enable $name" | "disable $name") ;;
"unit $name") unit "$name" ;;
"stop $name") stop "$name" ;;
"start $name" | "restart --no-block $name")
  stop "$name"
  setsid "$0" unit "$name" </dev/null >/dev/null 2>&1 &
  until [ -e "/run/$name.pid" ]; do sleep 0.1; done ;;
*) echo "no such thing here: $*" >&2; exit 1 ;;
esac
