#!/bin/bash
# What the vendor's image does at its start, as its documentation tells: settings and secrets from the environment.
set -euo pipefail
cd /usr/share/elasticsearch
# Not the vendor's: Java's first compiler alone, half the CPU time of a start (QUICK_START in tests/elasticsearch/node.py).
export ES_JAVA_OPTS="${ES_JAVA_OPTS:-} -XX:TieredStopAtLevel=1"
export CLI_JAVA_OPTS="${CLI_JAVA_OPTS:-} -XX:TieredStopAtLevel=1"
arguments=()
while IFS='=' read -r name value; do
  if [[ $name =~ ^[a-z0-9_]+(\.[a-z0-9_]+)+$ ]]; then arguments+=("-E$name=$value"); fi
done < <(env)
if [ -n "${ELASTIC_PASSWORD_FILE:-}" ]; then
  mode=$(stat -L -c %a "$ELASTIC_PASSWORD_FILE")
  case $mode in
    400 | 600) ;;
    *) echo "ERROR: File $ELASTIC_PASSWORD_FILE from ELASTIC_PASSWORD_FILE must have file permissions 400 or 600, but actually has: $mode" >&2; exit 1 ;;
  esac
  ELASTIC_PASSWORD=$(<"$ELASTIC_PASSWORD_FILE")
fi
if [ -n "${ELASTIC_PASSWORD:-}" ]; then
  [ -f config/elasticsearch.keystore ] || bin/elasticsearch-keystore create >/dev/null
  if ! bin/elasticsearch-keystore list | grep -qx bootstrap.password; then
    printf %s "$ELASTIC_PASSWORD" | bin/elasticsearch-keystore add -x bootstrap.password >/dev/null
  fi
fi
exec bin/elasticsearch "${arguments[@]}"
