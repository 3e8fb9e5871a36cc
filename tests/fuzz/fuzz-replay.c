/* SPDX-License-Identifier: MIT */
/* Runs a fuzzer over the files and folders it is given, without libFuzzer: seeds and former
 * findings are a test of every build. */
#include "fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static unsigned count;

static int replay(const char *path, const struct stat *st, int type)
{
    /* An exact allocation, so that sanitizers see a byte too far. */
    size_t size = (size_t)st->st_size;
    uint8_t *data = NULL;
    FILE *file = NULL;

    if (type != FTW_F)
        return 0;
    data = malloc(size ? size : 1);
    file = fopen(path, "rb");
    if (!data || !file || fread(data, 1, size, file) != size) {
        printf("Bail out! cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    printf("# %s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    printf("ok %u\n", ++count);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (ftw(argv[i], replay, 8) != 0) {
            printf("Bail out! cannot walk %s\n", argv[i]);
            return 1;
        }
    }
    printf("1..%u\n", count);
    return count == 0;
}
