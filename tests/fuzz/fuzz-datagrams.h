/* SPDX-License-Identifier: MIT */
/* An input that is a conversation: datagram after datagram, each
 *     u8 kind     bit 0: what follows is the whole datagram, else it is put behind a good header
 *                 bit 1: a descriptor comes along; bits 2 and 3: for the fuzzer
 *     u8 type     of the message
 *     u16 length  little-endian
 *     bytes
 */
#pragma once

#include "common/message.h"
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#define DATAGRAM_RAW 1
#define DATAGRAM_FD  2

struct datagram {
    uint8_t kind;
    size_t length;
    unsigned char *bytes; /* an exact allocation: free() */
};

/* The next one of what is left; false at its end. */
static inline bool next_datagram(const uint8_t **data, size_t *size, struct datagram *d)
{
    uint16_t version = MESSAGE_VERSION;
    uint32_t magic = MESSAGE_MAGIC;

    if (*size < 4)
        return false;
    d->kind = (*data)[0];
    uint16_t type = (*data)[1];
    size_t length = (size_t)(*data)[2] | (size_t)(*data)[3] << 8;
    *data += 4;
    *size -= 4;
    if (length > *size)
        length = *size;
    size_t head = d->kind & DATAGRAM_RAW ? 0 : MESSAGE_HEADER;
    if (length > MESSAGE_MAX - head)
        length = MESSAGE_MAX - head;
    d->length = head + length;
    d->bytes = malloc(d->length ? d->length : 1);
    must(d->bytes != NULL);
    if (head) {
        memcpy(d->bytes, &magic, sizeof magic);
        memcpy(d->bytes + 4, &version, sizeof version);
        memcpy(d->bytes + 6, &type, sizeof type);
    }
    memcpy(d->bytes + head, *data, length);
    *data += length;
    *size -= length;
    return true;
}
