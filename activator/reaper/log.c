/* SPDX-License-Identifier: MIT */
#include "reaper/log.h"

#include "reaper/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STAMP_LENGTH  28 /* 2026-01-31T23:59:59.123456Z and a blank */
#define CONTINUATION  "\xe2\x80\xa6 "
#define LINE_ROOM     (STAMP_LENGTH + sizeof CONTINUATION - 1 + LOG_LINE_MAX + 1)
#define SYSLOG_DAEMON 30 /* facility daemon, severity info */
#define SYSLOG_RETRY  1000

_Static_assert(LINE_ROOM + 8 <= LOG_ROOM, "a line with its stamp has to fit");

void log_init(struct log *log)
{
    /* Field by field: the buffers are large and stay untouched until they are used. */
    log->pipe = -1;
    log->file = -1;
    log->syslog = -1;
    log->limit = LOG_LIMIT;
    log->to_syslog = log->open_failed = log->continued = log->has_line = false;
    log->syslog_next = 0;
    log->stamp_second = -1;
    log->complete = log->used = log->text = 0;
    log->words[0] = log->name[0] = log->path[0] = '\0';
}

size_t utf8_cut(const char *text, size_t length, size_t most)
{
    size_t cut = most;

    if (length <= most)
        return length;
    for (int back = 0; back < 3 && cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80; back++)
        cut--;
    /* Not UTF-8: cut anywhere. */
    return ((unsigned char)text[cut] & 0xc0) == 0x80 || cut == 0 ? most : cut;
}

/* --- the file --------------------------------------------------------------------------- */

static void file_open(struct log *log)
{
    if (log->file >= 0)
        close(log->file);
    log->file =
        open(log->path,
             O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

/* Starts a new file, the old one stays beside it. Where that fails, the old content goes: a
 * bounded log that loses lines is what was promised, one that grows is not. */
static void file_rotate(struct log *log)
{
    char old[PATH_MAX + 2];
    int before = log->file;

    snprintf(old, sizeof old, "%s.1", log->path);
    log->file = -1;
    if (rename(log->path, old) == 0) {
        file_open(log);
        if (log->file >= 0) {
            close(before);
            return;
        }
    }
    log->file = before;
    int result = ftruncate(before, 0);
    (void)result;
}

/* The file may have been renamed by another run of the same service, or removed by somebody:
 * then what we hold is not the log any more. */
static void file_check(struct log *log, size_t coming)
{
    struct stat own;
    struct stat now;

    if (log->file < 0)
        file_open(log);
    if (log->file < 0 || fstat(log->file, &own) < 0)
        return;
    if (lstat(log->path, &now) < 0 || now.st_ino != own.st_ino || now.st_dev != own.st_dev) {
        file_open(log);
        if (log->file < 0 || fstat(log->file, &own) < 0)
            return;
    }
    if (S_ISREG(own.st_mode) && own.st_size > 0 && (uint64_t)own.st_size + coming > log->limit)
        file_rotate(log);
}

static void file_write(struct log *log, const char *data, size_t length)
{
    if (log->path[0] == '\0')
        return;
    file_check(log, length);
    while (log->file >= 0 && length > 0) {
        ssize_t written = write(log->file, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* disk full and the like: lost, and go on */
        data += written;
        length -= (size_t)written;
    }
}

static void write_out(struct log *log)
{
    if (log->complete == 0)
        return;
    file_write(log, log->out, log->complete);
    memmove(log->out, log->out + log->complete, log->used - log->complete);
    log->used -= log->complete;
    log->text -= log->has_line ? log->complete : 0;
    log->complete = 0;
}

/* --- syslog ----------------------------------------------------------------------------- */

static void syslog_connect(struct log *log)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};

    if (log->syslog >= 0)
        close(log->syslog);
    log->syslog = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (log->syslog >= 0 && connect(log->syslog, (struct sockaddr *)&to, sizeof to) < 0) {
        close(log->syslog);
        log->syslog = -1;
    }
}

/* Without a time of ours: the receiver's own clock and zone stamp it. */
static void syslog_line(struct log *log, const char *text, size_t length)
{
    char line[sizeof log->name + LOG_LINE_MAX + 16];

    int head = snprintf(line, sizeof line, "<%d>%s: ", SYSLOG_DAEMON, log->name);
    if (head < 0 || length == 0)
        return;
    if (length > sizeof line - (size_t)head)
        length = sizeof line - (size_t)head;
    memcpy(line + head, text, length);
    length += (size_t)head;
    /* Not every log daemon masks what a terminal would obey. */
    for (size_t i = (size_t)head; i < length; i++) {
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            line[i] = '?';
    }
    if (log->syslog >= 0 && send(log->syslog, line, length, MSG_NOSIGNAL) >= 0)
        return;
    if (log->syslog >= 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE))
        return;
    /* Not there, or restarted since. */
    if (loop_now() < log->syslog_next)
        return;
    log->syslog_next = loop_now() + SYSLOG_RETRY;
    syslog_connect(log);
    if (log->syslog >= 0)
        send(log->syslog, line, length, MSG_NOSIGNAL);
}

/* --- lines ------------------------------------------------------------------------------ */

/* Civil date of a day number since 1970 (Gregorian, March-based year). gmtime() would read the
 * time zone files and keep them in memory. */
static void civil(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = z / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

/* Writes the stamp, exactly STAMP_LENGTH bytes. */
static void put_stamp(struct log *log, char *to)
{
    struct timespec t = {0};
    char text[80];

    clock_gettime(CLOCK_REALTIME, &t);
    if (t.tv_sec != log->stamp_second) {
        int year = 0;
        int month = 0;
        int day = 0;
        int64_t second = t.tv_sec % 86400;
        civil(t.tv_sec / 86400, &year, &month, &day);
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.", year, month, day,
                 (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
        memcpy(log->stamp, text, 20);
        log->stamp_second = t.tv_sec;
    }
    memcpy(to, log->stamp, 20);
    snprintf(text, sizeof text, "%06dZ ", (int)(t.tv_nsec / 1000));
    memcpy(to + 20, text, 8);
}

static void line_begin(struct log *log)
{
    if (sizeof log->out - log->used < LINE_ROOM)
        write_out(log);
    log->complete = log->used;
    put_stamp(log, log->out + log->used);
    log->used += STAMP_LENGTH;
    if (log->continued) {
        memcpy(log->out + log->used, CONTINUATION, sizeof CONTINUATION - 1);
        log->used += sizeof CONTINUATION - 1;
    }
    log->continued = false;
    log->text = log->used;
    log->has_line = true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void keep_words(struct log *log, const char *text, size_t length)
{
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    while (length > 0 && is_blank(text[0])) {
        text++;
        length--;
    }
    if (length == 0)
        return;
    length = utf8_cut(text, length, LAST_WORDS_MAX);
    memcpy(log->words, text, length);
    log->words[length] = '\0';
}

static void line_end(struct log *log)
{
    const char *text = log->out + log->text;
    size_t length = log->used - log->text;

    keep_words(log, text, length);
    if (log->to_syslog)
        syslog_line(log, text, length);
    log->out[log->used++] = '\n';
    log->complete = log->used;
    log->has_line = false;
}

/* How many bytes at the end are the beginning of a UTF-8 sequence that is not complete. */
static size_t utf8_rest(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char c = (unsigned char)text[length - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t whole = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return whole > back ? back : 0;
    }
    return 0;
}

/* A line that is too long ends here; what would be half a character goes to the next. */
static void line_split(struct log *log)
{
    char rest[4];
    size_t over = utf8_rest(log->out + log->text, log->used - log->text);

    memcpy(rest, log->out + log->used - over, over);
    log->used -= over;
    line_end(log);
    log->continued = true;
    if (over > 0) {
        line_begin(log);
        memcpy(log->out + log->used, rest, over);
        log->used += over;
    }
}

static void put_text(struct log *log, const char *data, size_t length)
{
    while (length > 0) {
        if (!log->has_line)
            line_begin(log);
        size_t room = LOG_LINE_MAX - (log->used - log->text);
        size_t part = length < room ? length : room;
        memcpy(log->out + log->used, data, part);
        log->used += part;
        data += part;
        length -= part;
        if (part == room)
            line_split(log);
    }
}

static void put_data(struct log *log, const char *data, size_t length)
{
    while (length > 0) {
        size_t span = 0;
        while (span < length && data[span] != '\n' && data[span] != '\0')
            span++;
        put_text(log, data, span);
        if (span == length)
            return;
        if (data[span] == '\0') {
            put_text(log, "\\0", 2);
        } else if (log->has_line) {
            line_end(log);
        } else if (!log->continued) {
            line_begin(log);
            line_end(log);
        }
        if (data[span] == '\n')
            log->continued = false;
        data += span + 1;
        length -= span + 1;
    }
}

int log_target(struct log *log, const char *name, const char *path, uint32_t limit, bool syslog)
{
    if (strlen(name) >= sizeof log->name || strlen(path) >= sizeof log->path)
        return -ENAMETOOLONG;
    strcpy(log->name, name);
    strcpy(log->path, path);
    log->limit = limit ? limit : LOG_LIMIT;
    log->to_syslog = syslog;
    if (path[0] != '\0')
        file_open(log);
    if (syslog)
        syslog_connect(log);
    return 0;
}

bool log_drain(struct log *log, size_t most)
{
    char in[4096];
    size_t taken = 0;

    while (log->pipe >= 0 && taken < most) {
        ssize_t got = read(log->pipe, in, sizeof in);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            log->pipe = -1;
            log_flush(log);
            return false;
        }
        put_data(log, in, (size_t)got);
        taken += (size_t)got;
    }
    write_out(log);
    return taken >= most;
}

void log_flush(struct log *log)
{
    if (log->has_line)
        line_end(log);
    log->continued = false;
    write_out(log);
}

void log_close(struct log *log)
{
    log_flush(log);
    if (log->file >= 0)
        close(log->file);
    if (log->syslog >= 0)
        close(log->syslog);
    log->file = log->syslog = -1;
}
