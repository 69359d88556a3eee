/**
 * The keeper of one process: a small POSIX shell script that starts the command and notes its exit code, so that a worker which was away
 * learns it. It is the leader of the process's session and group, costs under 1 MB and two process starts (about 2 ms).
 *
 * The script is written once to `<work>/keeper-<hash>.sh` and never changed afterwards (a shell reads its script while it runs). Nothing is
 * ever interpolated into it: everything variable is a positional parameter.
 *
 *   sh keeper.sh keep LEASE SECONDS DIRECTORY COMMAND...     cwd: the process's folder, fd 3: a pipe to the worker
 *
 * Invariants:
 *   1. `started` is created exclusively before the command runs. Whoever else creates it first (a worker that found a launch half done)
 *      has thereby stopped the launch.
 *   2. The exit code is written over a placeholder of the same size: one write, no new block, so it is whole, also on a full disk.
 *   3. Polite signals do not end the keeper, and the command gets their default handling.
 *   4. What dies by a signal makes the shell say so on its own standard error, the file `keeper`: so `exit 137` and death by SIGKILL differ.
 *   5. All paths are relative to the current directory, so the folder may be renamed (spares).
 */
import { createHash } from "node:crypto";

/** The content of `exit` before the command has ended; padded to the length of what replaces it. */
export const EXIT_PLACEHOLDER = "running        \n";

/** After the polite signal to a program whose worker is gone, before it is killed. */
export const LEASE_GRACE_SECONDS = 2;
/** Renewed every second and written in whole seconds, a lease may look two seconds old although its worker is well. */
export const MIN_LEASE_SECONDS = 3;

/** The keeper's status when the command could not be started at all (its directory is missing, the folder cannot be written). */
export const KEEPER_FAILED = 125;

export const KEEPER_SCRIPT = `# Keeps one process of a Holdfast worker. See process-shim.ts of Holdfast for what and why.

# Runs beside a program that may not outlive its worker: the worker writes the machine's uptime to the lease every second.
watch_lease() {
  PATH=/usr/local/bin:/usr/bin:/bin
  trap '' HUP INT QUIT TERM
  trap 'kill -KILL "$nap"; exit 0' USR1
  read -r seen rest </proc/uptime
  seen=\${seen%%.*}
  while :; do
    sleep 1 &
    nap=$!
    wait "$nap" || exit 1
    read -r now rest </proc/uptime
    now=\${now%%.*}
    text=
    read -r text <"$lease"
    case $text in '' | *[!0-9]*) ;; *) seen=$text ;; esac
    [ "$((now - seen))" -lt "$seconds" ] && continue
    case $lease in
      *leader-lease) echo "ended itself: no leader confirmed its worker for $((now - seen)) s" >reason ;;
      *) echo "ended itself: no worker for $((now - seen)) s" >reason ;;
    esac
    kill -TERM 0
    sleep ${LEASE_GRACE_SECONDS}
    kill -KILL 0
  done
}

keep() {
  lease=$1 seconds=$2
  shift 2
  trap : HUP INT QUIT TERM USR1 USR2 ALRM
  exec 4>&2 2>keeper
  watcher=
  if [ -n "$lease" ]; then
    watch_lease </dev/null >/dev/null 2>&1 3>&- 4>&- &
    watcher=$!
  fi
  (
    exec 2>&4 4>&-
    exec /bin/sh "$0" start "$@"
  )
  code=$?
  printf '%-15s\\n' "exited $code" 1<>exit
  [ -n "$watcher" ] && kill -USR1 "$watcher"
  exit "$code"
}

start_time() {
  shift 21
  start=$1
}

start() {
  directory=$1
  shift
  set -f
  read -r stat <"/proc/$PPID/stat" || exit ${KEEPER_FAILED}
  start_time $stat
  (set -C && echo "$PPID $start $$" >started) || exit ${KEEPER_FAILED}
  cd "$directory" || exit ${KEEPER_FAILED}
  unset OLDPWD
  trap '' PIPE
  echo "$PPID $start $$" >&3
  trap - PIPE
  exec "$@" 3>&-
}

"$@"
`;

export const KEEPER_FILE_NAME = `keeper-${createHash("sha256").update(KEEPER_SCRIPT).digest("hex").slice(0, 12)}.sh`;
