#!/bin/sh
# Stands in for pip: `download ... --dest FOLDER NAME==VERSION` copies
# $WHEELS/NAME.whl into FOLDER. Anything else, above all an install, is refused.
[ "$1" = download ] || { echo "refused: $1" >&2; exit 64; }
case " $* " in *" --no-deps "*) ;; *) echo "refused: dependencies" >&2; exit 64 ;; esac
case " $* " in *" --only-binary=:all: "*) ;; *) echo "refused: sources" >&2; exit 64 ;; esac
while [ $# -gt 1 ]; do
    [ "$1" = --dest ] && folder=$2
    shift
done
# As pip does; of a password it shows none, but others that are asked may.
[ -z "$PIP_INDEX_URL" ] || echo "Looking in indexes: $PIP_INDEX_URL" >&2
cp "$WHEELS/${1%%==*}.whl" "$folder/" || {
    echo "ERROR: No matching distribution found for $1" >&2
    exit 1
}
