#!/bin/sh
# Run a command with the compiled code of the image, which may be read-only: Numba uses a cache
# only where it can write.
set -eu
mkdir -p "$NUMBA_CACHE_DIR"
cp -R /opt/compiled/. "$NUMBA_CACHE_DIR"
exec "$@"
