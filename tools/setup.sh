#!/bin/sh
# Makes everything that a benchmark needs, on a bare Debian or Ubuntu with python3 and make:
# a virtual environment in .venv, and, unless only Python was asked for, MariaDB, Redis, Java and Apache Kafka;
# for `test` also Node.js and its package `ws`, in which the example server is written.
# Installs only what is missing, starts nothing, and returns at once when there is nothing to do.
#   tools/setup.sh [all|python|test]   exit codes: 0 ready, 3 something could not be installed (it says what to type)
set -eu

what=${1:-all}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv
pom=bench/services/kafka/pom.xml
kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$pom")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/readstate-bench
kafka=$cache/kafka-$kafka_version
log=$cache/setup.log
policy=/usr/sbin/policy-rc.d
policy_kept=$policy.before-readstate-bench
ticker=

say() { echo "setup: $*" >&2; }

give_up() { # a paragraph that says what to type
  say "$*"
  exit 3
}

leave() { # on every way out
  [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
  restore_policy
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

tick() { # in the background, until it is killed
  nap=
  trap 'kill "$nap" 2>/dev/null; exit 0' TERM
  while :; do
    sleep 20 &
    nap=$!
    wait "$nap"
    say "… still $title ($(($(date +%s) - begun)) s)"
  done
}

step() { # step "what is being done" command…: says how long it takes, shows the log's end if it fails
  title=$1
  shift
  begun=$(date +%s)
  say "$title …"
  tick &
  ticker=$!
  status=0
  "$@" >"$log" 2>&1 || status=$?
  kill "$ticker" 2>/dev/null || true
  ticker=
  if [ "$status" = 0 ]; then
    say "$title: done in $(($(date +%s) - begun)) s"
  else
    say "$title failed with status $status. The end of $log:"
    tail -n 15 "$log" | sed 's/^/    /' >&2
  fi
  return "$status"
}

# --- Debian packages ---------------------------------------------------------------------------------------------

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin:/usr/libexec command -v "$1" >/dev/null 2>&1; }

forbid_starting() { # packages must not start servers of their own on the usual ports
  restore_policy # of a set-up that was killed
  [ ! -e "$policy" ] || as_root mv "$policy" "$policy_kept"
  printf '#!/bin/sh\n# readstate-bench: nothing is started while it installs packages\nexit 101\n' |
    as_root sh -c "cat >$policy && chmod 755 $policy"
}

restore_policy() {
  if grep -q readstate-bench "$policy" 2>/dev/null; then as_root rm -f "$policy"; fi
  if [ -e "$policy_kept" ]; then as_root mv "$policy_kept" "$policy"; fi
}

apt() { # apt package…
  has apt-get || give_up "Missing: $*. This machine has no apt-get. Install Docker with its compose plug-in, or a MariaDB" \
    "or MySQL server, redis-server, a Java runtime (17 or newer) and Maven, and type the command again."
  [ "$(id -u)" = 0 ] || has sudo || give_up "Missing: $*. Installing them needs root, and there is no sudo." \
    "As root, type:  apt-get update && apt-get install -y --no-install-recommends $*"
  forbid_starting
  step "installing $*" apt_install "$@" || give_up "Debian packages could not be installed. To see why, type:" \
    "apt-get update && apt-get install -y --no-install-recommends $*"
  restore_policy
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
      install --no-install-recommends "$@"
}

missing_packages() {
  [ "$what" != test ] || has node || echo nodejs node-ws
  { has mariadbd && has mariadb-install-db; } || has mysqld || echo mariadb-server-core mariadb-client-core
  has redis-server || has valkey-server || echo redis-server
  has java || echo default-jre-headless
  kafka_is_there || has mvn || echo maven
}

containers_will_do() {
  [ -n "$(missing_packages)" ] && ! has apt-get && docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1
}

install_services() {
  missing=$(missing_packages | tr '\n' ' ')
  # shellcheck disable=SC2086 # words are wanted
  [ -z "$missing" ] || apt $missing
  case $missing in *redis-server*) # a cache of ours, not a service of the machine
    ! has systemctl || as_root systemctl disable --quiet redis-server >/dev/null 2>&1 || true ;;
  esac
  kafka_is_there || fetch_kafka
}

# --- Apache Kafka, from Maven Central ------------------------------------------------------------------------------

kafka_is_there() { ls "${KAFKA_HOME:-$kafka}"/libs/kafka_2.*.jar >/dev/null 2>&1; }

fetch_kafka() {
  [ -z "${KAFKA_HOME:-}" ] || give_up "KAFKA_HOME is $KAFKA_HOME, and $KAFKA_HOME/libs holds no kafka_2.*.jar." \
    "Let it name an unpacked Apache Kafka 4, or type:  unset KAFKA_HOME"
  staging=$kafka.$$
  step "fetching Apache Kafka $kafka_version (43 MB)" \
    mvn -B -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$staging/libs" ||
    give_up "Kafka's jars could not be fetched from Maven Central. Check the network, or unpack Apache Kafka" \
      "$kafka_version yourself and type:  export KAFKA_HOME=/where/it/is"
  rm -rf "$kafka"
  mv "$staging" "$kafka"
}

# --- the example server's package ------------------------------------------------------------------------------------

ws_is_there() { (cd examples/node && node -e 'require("ws")') >/dev/null 2>&1; }

install_ws() { # of npm where there is one; Debian's own Node finds Debian's packages
  ws_is_there && return 0
  if has npm; then step "installing ws for examples/node" npm ci --prefix examples/node || true; else apt node-ws; fi
  ws_is_there || give_up "Node's package ws is missing, which the example server needs. To see why, type:" \
    "npm ci --prefix examples/node"
}

# --- Python --------------------------------------------------------------------------------------------------------

stamp_wanted() {
  { cat pyproject.toml requirements.lock && "$python" -VV && pwd; } | sha256sum | cut -d ' ' -f 1
}

install_python() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || give_up \
    "Python 3.11 or newer is needed and $python is $("$python" -V 2>&1)." \
    "If another one is installed, type:  PYTHON=python3.12 make setup"
  wanted=$(stamp_wanted)
  [ "$(cat $venv/.setup-stamp 2>/dev/null)" != "$wanted" ] || return 0
  "$python" -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  same_python && $venv/bin/python -c 'import pip' 2>/dev/null || "$python" -m venv --clear $venv
  step "installing Python packages (about a minute)" install_packages || give_up \
    "The versions in requirements.lock could not be installed for $("$python" -V). Check the network; if a package" \
    "has no build for this Python, take another one:  PYTHON=python3.12 make setup"
  echo "$wanted" >$venv/.setup-stamp
}

same_python() {
  [ -x $venv/bin/python ] && [ "$($venv/bin/python -VV)" = "$("$python" -VV)" ]
}

# Compiled after, on all cores: pip does it on one. A package's file that does not compile is compiled by nobody
# either way, so that is no failure.
install_packages() {
  $venv/bin/python -m pip --disable-pip-version-check install -q --no-compile -r requirements.lock &&
    { $venv/bin/python -m compileall -q -j 0 $venv/lib >/dev/null 2>&1 || true; } &&
    $venv/bin/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e .
}

# --- the whole -----------------------------------------------------------------------------------------------------

trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$cache"
case $what in
all | test)
  if containers_will_do; then
    say "no apt-get here, but Docker: runs will use containers (docker-compose.yml)"
    install_python
    exit 0
  fi
  install_services
  [ "$what" != test ] || install_ws
  install_python
  $venv/bin/python -m bench.services || give_up "The services are installed, but do not work here: see above." \
    "When that is mended, type the command again, or use containers: bench run --services compose"
  ;;
python) install_python ;;
*) give_up "tools/setup.sh takes 'all', 'python' or 'test', not '$what'." ;;
esac
