/* SPDX-License-Identifier: MIT */
#include "common/parse/bus-config.h"
#include "fuzz.h"

#include <limits.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bus_config config;
    struct parse_error error = {0};
    int r = bus_config_parse((const char *)data, size, "/nonexistent/fuzz.conf", &config, &error);

    must(r == 0 || r == BUS_CONFIG_E_INVALID);
    if (r) {
        must(!config.dirs && !config.listen && !config.type && error.message[0]);
        return 0;
    }
    must(config.start_timeout_ms <= INT_MAX);
    must(config.has_servicehelper == (config.servicehelper != NULL));
    for (size_t i = 0; i < config.ndirs; i++) {
        if (config.dirs[i].kind == BUS_CONFIG_DIR)
            must(config.dirs[i].path && config.dirs[i].path[0] == '/');
        else
            must(!config.dirs[i].path);
    }
    bus_config_clear(&config);
    return 0;
}
