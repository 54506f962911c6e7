#!/bin/sh
# Renders one page for each line `NAME TITLE` of standard input into a directory.
set -eu
mkdir -p "$1"
while read -r name title; do
    printf '<!doctype html>\n<title>%s</title>\n<h1>%s</h1>\n' "$title" "$title" > "$1/$name.html"
    echo "rendered $name.html"
done
