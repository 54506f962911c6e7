#!/bin/sh
# Starts the web server, passes TERM on to it, and ends with its status.
set -eu

if [ "$#" -gt 0 ] && [ "$1" != serve ]; then
    exec "$@"
fi

microhttpd "$SITE_CONF" &
server=$!
stopped=
trap 'stopped=yes; kill -TERM "$server"' TERM INT
echo "$SITE_NAME listens on port $SITE_PORT"

# The first `wait` ends when a signal comes in, the second with the server.
status=0
wait "$server" || status=$?
if [ -n "$stopped" ] && [ "$status" -gt 128 ]; then
    status=0
    wait "$server" || status=$?
fi
echo "server ended with $status"
exit "$status"
