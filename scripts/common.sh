# Shared by the scripts beside it: what they say, and where the server programs of PostgreSQL are. Must not
# change anything. Made to be sourced.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Folders that may hold initdb and postgres. The program looks in the same places: crates/cluster/src/binaries.rs.
postgres_folders() {
  if [ -n "${WAYPOST_PG_BIN:-}" ]; then
    printf '%s\n' "$WAYPOST_PG_BIN"
    return
  fi
  printf '%s' "$PATH" | tr ':' '\n'
  printf '\n'
  local folder
  for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin /usr/local/pgsql*/bin; do
    printf '%s\n' "$folder"
  done
}

# Succeeds, and prints the folder, when server programs of version 14 or later are installed.
find_postgres() {
  local folder version
  while IFS= read -r folder; do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] || continue
    version=$("$folder/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 14 ]; then
      printf '%s\n' "$folder"
      return 0
    fi
  done < <(postgres_folders)
  return 1
}
