/* server/embed.c - a build tool: files -> a C table for vl2_page_find.
 * usage: embed OUT.c { PATH TYPE FILE } ... */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const char *name) {
    fprintf(stderr, "embed: cannot %s %s\n", what, name);
    return 1;
}

/* One array; its hash (FNV-1a) becomes the ETag. */
static int write_array(FILE *out, int index, const char *name, uint64_t *hash) {
    FILE *in = fopen(name, "rb");
    if (!in) return fail("read", name);
    fprintf(out, "static const unsigned char file_%d[] = {", index);
    *hash = 0xcbf29ce484222325u;
    for (int c, n = 0; (c = fgetc(in)) != EOF; n++) {
        fprintf(out, "%s%d,", n % 24 ? "" : "\n", c);
        *hash = (*hash ^ (unsigned)c) * 0x100000001b3u;
    }
    fprintf(out, "0};\n"); /* an empty file is an array, too */
    fclose(in);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 5 || (argc - 2) % 3) return fail("use", "these arguments");
    FILE *out = fopen(argv[1], "w");
    int n = (argc - 2) / 3;
    uint64_t *hashes = calloc((size_t)n, sizeof *hashes);
    if (!out || !hashes) return fail("write", argv[1]);
    fprintf(out,
            "/* made by server/embed.c */\n#include \"server/site.h\"\n\n#include <string.h>\n\n");
    for (int i = 0; i < n; i++) {
        if (write_array(out, i, argv[2 + 3 * i + 2], &hashes[i])) return 1;
    }
    fprintf(out, "\nstatic const vl2_page_file files[] = {\n");
    for (int i = 0; i < n; i++)
        fprintf(out, "    {\"%s\", \"%s%s\", file_%d, sizeof file_%d - 1, \"\\\"%016llx\\\"\"},\n",
                argv[2 + 3 * i], argv[3 + 3 * i],
                strncmp(argv[3 + 3 * i], "text/", 5) ? "" : "; charset=utf-8", i, i,
                (unsigned long long)hashes[i]);
    fprintf(out, "};\n\nconst vl2_page_file *vl2_page_find(const char *path) {\n"
                 "    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {\n"
                 "        if (strcmp(files[i].path, path) == 0) return &files[i];\n"
                 "    }\n    return NULL;\n}\n");
    free(hashes);
    return fclose(out) ? fail("write", argv[1]) : 0;
}
