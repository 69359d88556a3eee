#!/usr/bin/env bash
# Everything a fresh machine needs, done once and again only when it is stale: Node's version is checked, npm packages are installed
# when node_modules is missing or older than the lock file, Debian packages when this user is root (else one sentence names them).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

if ! command -v node >/dev/null 2>&1; then
  say "Node.js is missing. Install Node 20.19 or newer (for example: apt-get install nodejs npm), then run this again."
  exit 2
fi
if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'; then
  say "Node $(node --version) is too old. Holdfast needs Node 20.19 or newer."
  exit 2
fi

# Debian packages that the tests use beside Node itself; each is looked for by the program that it brings.
missing=()
command -v setsid >/dev/null 2>&1 || missing+=(util-linux)
command -v git >/dev/null 2>&1 || missing+=(git)
command -v openssl >/dev/null 2>&1 || missing+=(openssl)
# The package starts no daemon; the tests start servers of their own from its jars.
[ -f /usr/share/java/zookeeper.jar ] || missing+=(zookeeper)
command -v java >/dev/null 2>&1 && command -v keytool >/dev/null 2>&1 || missing+=(default-jre-headless)
# Its programs alone are used: the tests start a server of their own.
compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || missing+=(postgresql)
# Partition tests need root, so only root needs their programs; without them these tests say why they are skipped.
if [ "$(id -u)" = 0 ]; then
  command -v ip >/dev/null 2>&1 || missing+=(iproute2)
  command -v iptables-restore >/dev/null 2>&1 || missing+=(iptables)
fi
if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing Debian packages: ${missing[*]}"
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    say "Please install these Debian packages first: apt-get install ${missing[*]}"
    exit 2
  fi
fi

stamp=node_modules/.holdfast-lock
if [ ! -f "$stamp" ] || ! cmp -s package-lock.json "$stamp"; then
  say "installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json "$stamp"
fi
