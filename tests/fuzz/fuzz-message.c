/* SPDX-License-Identifier: MIT */
/* The reading of messages: the first bytes say which fields are asked for, up to a zero; the rest
 * is the datagram. What was read, written again, is the same datagram. */
#include "common/message.h"
#include "fuzz.h"

#include <errno.h>
#include <string.h>

static void copy_text(struct message *m, const char *text, size_t length,
                      const struct message_reader *r)
{
    const char *start = (const char *)r->data;

    must(text[length] == '\0');
    must(r->bad || (text >= start && text + length < start + r->length));
    message_put_bytes(m, text, length);
}

static void copy_field(struct message_reader *r, struct message *m, uint8_t kind)
{
    size_t length = 0;
    const char *text = NULL;

    switch (kind % 5) {
    case 0:
        message_put_u8(m, message_get_u8(r));
        break;
    case 1:
        message_put_u32(m, message_get_u32(r));
        break;
    case 2:
        message_put_u64(m, message_get_u64(r));
        break;
    case 3:
        text = message_get_string(r);
        copy_text(m, text, strlen(text), r);
        break;
    default:
        text = message_get_bytes(r, &length);
        copy_text(m, text, length, r);
        break;
    }
}

/* A reader that went wrong stays so, and hands out nothing. */
static void check_bad(struct message_reader *r)
{
    size_t length = 1;

    must(!message_read_end(r));
    must(message_get_u8(r) == 0 && message_get_u32(r) == 0 && message_get_u64(r) == 0);
    must(*message_get_string(r) == '\0');
    must(*message_get_bytes(r, &length) == '\0' && length == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct message m;
    struct message_reader r;
    const uint8_t *fields = data;
    const uint8_t *end = memchr(data, 0, size < 64 ? size : 64);

    if (!end)
        return 0;
    size -= (size_t)(end + 1 - data);
    data = end + 1;
    /* No more than the kernel would hand over. */
    if (size > MESSAGE_MAX)
        return 0;
    int result = message_read_begin(&r, data, size);
    must(result == 0 || result == -EBADMSG || result == -EPROTONOSUPPORT);
    must((result == -EPROTONOSUPPORT) ==
         (result != -EBADMSG && (r.version < message_oldest || r.version > message_version)));
    if (result < 0)
        return 0;
    message_begin(&m, r.type);
    for (; fields < end; fields++)
        copy_field(&r, &m, *fields);
    must(r.position <= r.length);
    if (r.bad)
        check_bad(&r);
    else
        must(!m.overflow && m.length == r.position && memcmp(m.data, data, m.length) == 0);
    if (message_read_end(&r))
        must(m.length == size);
    return 0;
}
