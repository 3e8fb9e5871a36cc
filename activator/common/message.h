/* SPDX-License-Identifier: MIT */
/*
 * The messages between the programs: reaper <-> activator, top reaper <-> activator,
 * launch helper <-> activator. One message is one datagram of a Unix SOCK_SEQPACKET
 * socket, at most MESSAGE_MAX bytes, in the byte order of the machine:
 *
 *     u32 magic   MESSAGE_MAGIC
 *     u16 version MESSAGE_VERSION
 *     u16 type    enum message_type
 *     fields      in the order that the table below gives
 *
 * A field is u8, u32, u64 or a string (u32 length without the NUL, the bytes, one NUL).
 * Strings hold no NUL. A reader that finds less than it wants, a string with a NUL inside or
 * bytes left over takes the message for junk and drops the connection.
 *
 * Each says its version in every message. Who hears one between MESSAGE_OLDEST and its own
 * MESSAGE_VERSION takes it and answers in the same: so a new activator serves the reapers that the
 * previous one left. Others are refused, and go on waiting for their processes.
 *
 * History of versions (a retired number is never used again):
 *     1  the first
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAGIC 0x31414244u /* "DBA1" */
/* Tests build programs of other versions. */
#ifndef MESSAGE_VERSION
#define MESSAGE_VERSION 1
#define MESSAGE_OLDEST  1
#endif
#define MESSAGE_MAX    65536
#define MESSAGE_HEADER 8
/* Argv and environment up to this size travel inside the message, larger ones as a sealed
 * memfd (a sequenced packet fails above about 212 kB). */
#define MESSAGE_INLINE  32768
#define MESSAGE_MAX_FDS 2

enum message_type {
    /* --- a reaper (run, spare or top) speaks to the activator ------------------------- */

    /* u8 role (enum reaper_role), u32 pid, u8 kind (enum child_reaper_kind), u64 run id,
     * string note, u32 pid of the spawned process (0: none), u64 time of the spawn.
     * First message of each connection. A spare sends run 0. With it goes, as descriptor, the
     * read end of the log pipe if there is one. A run reaper repeats after it all it knows and
     * was not yet acknowledged, then MESSAGE_REPLAYED. The top reaper sends its own hello (run
     * 0), then for each run it holds MESSAGE_REAPER_GONE and that run's unacknowledged messages,
     * then MESSAGE_REPLAYED. */
    MESSAGE_HELLO = 1,
    /* (no field) what was known has been told. */
    MESSAGE_REPLAYED = 2,
    /* u64 run, u32 pid, u64 time: the program runs (exec succeeded). */
    MESSAGE_SPAWNED = 3,
    /* u64 run, u8 stage (enum spawn_stage), u32 errno, u64 time: it could not be started.
     * Followed by MESSAGE_EMPTY. */
    MESSAGE_SPAWN_FAILED = 4,
    /* u64 run, u64 seq, u32 pid, u8 how (enum end_how), u32 status, u8 adopted (enum exit_flags),
     * u8 first (it is the process that was spawned), u64 time, string last words.
     * seq counts from 1 within the run; acknowledged by MESSAGE_ACK. Last words: the last
     * line that the run has written so far, at most 200 bytes, only beside a bad end. */
    MESSAGE_EXIT = 5,
    /* u64 run, u64 seq, u64 time: no process remains. Acknowledged by MESSAGE_ACK; after
     * that the reaper leaves. */
    MESSAGE_EMPTY = 6,
    /* u64 run, u32 cookie, u32 signalled, u32 left: answer to MESSAGE_SIGNAL. */
    MESSAGE_SIGNALLED = 7,
    /* top reaper only: u64 run, u32 reaper's pid, u8 how, u32 status, u32 processes it left,
     * u64 last seq known (always 0 here: numbers of the top start at MESSAGE_TOP_SEQ),
     * string note, u32 spawned pid or 0.
     * The reaper of this run died; the top has its processes now. */
    MESSAGE_REAPER_GONE = 8,
    /* top reaper only: u64 run, u32 count, count times u32 pid and u64 start time (as /proc has
     * it): these have become children of the top, as processes of this run. After
     * MESSAGE_REAPER_GONE, whenever there are more; each leaves with its MESSAGE_EXIT. */
    MESSAGE_ORPHANS = 9,
    /* top reaper only: u32 pid or 0, u32 errno: answer to each MESSAGE_TOP_SPARE. */
    MESSAGE_SPARED = 10,

    /* spare only: u32 pid, u32 errno: answer to MESSAGE_COPY; pid 0: could not. Descriptors: the
     * activator's end of the new spare's connection, the read end of its log pipe. No hello comes
     * on that connection. */
    MESSAGE_COPIED = 11,

    /* --- the activator speaks to a reaper --------------------------------------------- */

    /* u64 run, string bus name, string note, u32 flags (enum spawn_flags), u32 uid, u32 gid,
     * u32 number of groups, u32 each group, u32 umask (SPAWN_KEEP_UMASK: leave),
     * string cwd ("" = "/"), string log file ("" = none), u32 log limit in bytes a file,
     * u32 stop timeout in ms, u32 argc, u32 envc, u32 bytes, string block when inline.
     * The block is argc + envc strings one after the other, each with its NUL; as `string`
     * field it may hold NULs (the one exception). bytes = its size; larger than
     * MESSAGE_INLINE: the string is empty and the block lies in the attached sealed memfd. */
    MESSAGE_SPAWN = 20,
    /* u64 run, u64 seq: everything of this run up to seq is in the history. */
    MESSAGE_ACK = 21,
    /* u64 run, u32 cookie, u32 signal, u8 and_continue: send to every process of the run
     * (never to the reaper itself); 0 only counts. */
    MESSAGE_SIGNAL = 22,

    /* (no field) to a spare: make another one of yourself. */
    MESSAGE_COPY = 23,

    /* --- the activator speaks to the top reaper --------------------------------------- */

    /* u64 run, u32 pid of its reaper, string bus name, string note; descriptor: the read end
     * of the run's log pipe (so that nothing gets EPIPE when its reaper is killed), string
     * log file, u32 log limit, u8 log lines to syslog too. Sent for a spare as it connects, with
     * run 0 and empty strings; again with the run before MESSAGE_SPAWN goes to it (no
     * descriptor); for a run as its reaper connects again (the top may be a new one), and as its
     * connection ends: a reaper that is dead by then, known or not, is answered with
     * MESSAGE_REAPER_GONE. */
    MESSAGE_TOP_REAPER = 30,
    /* (no field) the activator serves: the back-off of restarts starts anew. */
    MESSAGE_TOP_SERVING = 31,
    /* u32 1: the bus is gone or a session ends: when the activator has left, stop all. */
    MESSAGE_TOP_STOP_ALL = 32,
    /* (no field) the activator (perhaps another program than before) begins on this connection:
     * the top answers with its hello and all it has no receipt for. */
    MESSAGE_TOP_ASK = 33,
    /* string reaper's program, string runtime directory: start a spare. For a top whose kind is
     * CHILD_REAPER_PATCHED: in the kernel's lineage a process counts as what its creator is, so a
     * reaper that the activator clones is of the activator's own lineage, while one that the top
     * forks begins another, which all that it leaves will carry. */
    MESSAGE_TOP_SPARE = 34,

    /* --- launch helper and activator ---------------------------------------------------*/

    /* u8 kind (0 system, 1 session), string bus name, string original file,
     * string own environment block (NUL-separated; may hold NULs) or empty with a memfd when
     * larger than MESSAGE_INLINE. */
    MESSAGE_REQUEST = 40,
    /* u8 code (enum verdict), u8 how, u32 status, string error name, string message. */
    MESSAGE_VERDICT = 41,
    /* string text: the peer speaks another version; text names both. */
    MESSAGE_REFUSED = 50,
};

/* The exit status of an activator that is not the first one below its top reaper, or that executed
 * itself, and that cannot serve just now: the top reaper tries again later. */
#define ACTIVATOR_LATER 75

enum reaper_role {
    REAPER_SPARE = 0,
    REAPER_RUN = 1,
    REAPER_TOP = 2,
};

enum end_how {
    END_UNKNOWN = 0,
    END_EXITED = 1,
    END_KILLED = 2,
    END_DUMPED = 3,
};

enum exit_flags {
    EXIT_ADOPTED = 1 << 0,
    /* Top reaper only: it had ended before its own reaper died, which may have told it. */
    EXIT_LEFT = 1 << 1,
};
/* A run's reaper waits for what has ended when it has the receipt for that, but never keeps more
 * than so many waiting: who knows the last so many ends it told knows what it can leave. */
#define MESSAGE_KEPT_MAX 256

enum spawn_stage {
    SPAWN_STAGE_FORK = 1,
    SPAWN_STAGE_SETUP = 2, /* descriptors, limits, session */
    SPAWN_STAGE_USER = 3,  /* groups, gid, uid, capabilities */
    SPAWN_STAGE_EXEC = 4,
};

enum spawn_flags {
    SPAWN_SYSTEM = 1 << 0, /* set groups, gid, uid; drop capabilities; own CAP_KILL only */
    SPAWN_SYSLOG = 1 << 1, /* lines of the log also to syslog under the bus name */
};
#define SPAWN_KEEP_UMASK UINT32_MAX
/* Sequence numbers that the top reaper gives to a run's ends start here, so that they never
 * collide with those that the run's own reaper gave before it died. */
#define MESSAGE_TOP_SEQ (UINT64_C(1) << 32)
#define LAST_WORDS_MAX  200

/* What became of a request, apart from the door it came by. data/verdicts.md has the table
 * verdict x door -> what the caller gets. */
enum verdict {
    VERDICT_OWNED = 0,
    VERDICT_NO_MEMORY = 2,
    VERDICT_CONFIG_INVALID = 3,
    VERDICT_SETUP_FAILED = 4,
    VERDICT_SERVICE_INVALID = 5,
    VERDICT_NOT_FOUND = 6,
    VERDICT_PERMISSIONS = 7,
    VERDICT_FILE_INVALID = 8,
    VERDICT_EXEC_FAILED = 9,
    VERDICT_INVALID_ARGS = 10,
    VERDICT_CHILD_SIGNALED = 11,
    VERDICT_CHILD_EXITED = 12,
    VERDICT_FORK_FAILED = 13,
    VERDICT_TIMED_OUT = 14,   /* a helper waits on: dbus-daemon's own limit gives that verdict */
    VERDICT_START_LIMIT = 15, /* how/status/error as of the first failure */
    VERDICT_SHUTTING_DOWN = 16,
    VERDICT_NOT_SERVED = 17, /* session door: exec the original yourself */
};

/* A message being built. It never fails by itself: what does not fit sets `overflow`, and
 * message_send() answers -EMSGSIZE. */
struct message {
    size_t length;
    bool overflow;
    unsigned char data[MESSAGE_MAX];
};

/* What this program was built with. */
extern const uint16_t message_version;
extern const uint16_t message_oldest;

void message_begin(struct message *m, enum message_type type);
/* For a peer that speaks an older version. */
void message_set_version(struct message *m, uint16_t version);
void message_put_u8(struct message *m, uint8_t value);
void message_put_u32(struct message *m, uint32_t value);
void message_put_u64(struct message *m, uint64_t value);
void message_put_string(struct message *m, const char *value);
void message_put_bytes(struct message *m, const void *data, size_t length);

/* Reads a received message. The strings it hands out lie inside the message's own bytes and
 * live as long as those. After any failed read `bad` is set and all further reads answer 0 or
 * "". */
struct message_reader {
    const unsigned char *data;
    size_t length;
    size_t position;
    uint16_t type;
    uint16_t version;
    bool bad;
};

/* Takes the bytes of one datagram. Returns 0, -EBADMSG for junk, -EPROTONOSUPPORT when it is
 * ours but of a version that this program does not know (type and version are set then). */
int message_read_begin(struct message_reader *r, const void *data, size_t length);
uint8_t message_get_u8(struct message_reader *r);
uint32_t message_get_u32(struct message_reader *r);
uint64_t message_get_u64(struct message_reader *r);
const char *message_get_string(struct message_reader *r);
/* Like message_get_string() but the bytes may hold NULs; *length without the final NUL. */
const char *message_get_bytes(struct message_reader *r, size_t *length);
/* True when every read succeeded and nothing is left over. */
bool message_read_end(const struct message_reader *r);

/* Sends the message and copies of the descriptors (nfds <= MESSAGE_MAX_FDS) in one datagram,
 * without blocking when the socket is non-blocking, never raising SIGPIPE. Retries EINTR.
 * Returns 0 or a negative errno (-EAGAIN: not sent). */
int message_send(int socket, const struct message *m, const int *fds, size_t nfds);

/* Receives one datagram into buffer (of MESSAGE_MAX bytes). fds[] gets up to MESSAGE_MAX_FDS
 * descriptors, close-on-exec, -1 where none; the caller owns them. Returns the length, 0 at the
 * end of the connection, or a negative errno; -EMSGSIZE when it was larger than MESSAGE_MAX. When
 * not all descriptors could be had (this process is at its limit, or there were more), the message
 * comes without any: who sent it cannot know, so it must not be lost. */
long message_receive(int socket, void *buffer, int fds[MESSAGE_MAX_FDS]);
