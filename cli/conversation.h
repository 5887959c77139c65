/* conversation.h - messages with their pictures, read from JSON or put together turn by turn.
 *
 * The JSON form is docs/MODEL.md §3's: [{"role": "user", "content": "<image>\n…", "images": ["a.png"]}, …],
 * picture paths relative to the file that names them. */
#ifndef VL2_CLI_CONVERSATION_H
#define VL2_CLI_CONVERSATION_H

#include "base/buf.h"
#include "base/json.h"
#include "vl2/vl2.h"

typedef struct cli_message {
    vl2_role role;
    char *text;
    size_t size;
    const vl2_picture **pictures; /* one reference each */
    char **paths;                 /* as absolute as they were given; for saving */
    size_t n_pictures;
} cli_message;

typedef struct cli_conversation { /* {0} is an empty one */
    cli_message *messages;
    size_t n;
    vl2_picture_options picture_options; /* struct_size 0: the defaults */
    double picture_ms;                   /* that reading pictures took */
} cli_conversation;

void cli_conversation_free(cli_conversation *conversation);
/* Appends a message without pictures. Text is copied. */
vl2_status cli_conversation_add(cli_conversation *conversation, vl2_role role, const char *text,
                                size_t size, vl2_error *err);
/* Opens a picture and adds it to the last message; path "-" reads stdin. */
vl2_status cli_conversation_add_picture(cli_conversation *conversation, const char *path,
                                        vl2_error *err);
/* Appends the messages of a JSON array. `where` leads error texts; folder: what relative picture
 * paths start from. */
vl2_status cli_conversation_parse(cli_conversation *out, const vl2_json *messages,
                                  const char *where, const char *folder, vl2_error *err);
/* The same from a file; "-" is stdin, with paths relative to the current folder. */
vl2_status cli_conversation_read(cli_conversation *out, const char *path, vl2_error *err);
/* A system message in front; an error where there is one already. NULL text: nothing. */
vl2_status cli_conversation_add_system(cli_conversation *conversation, const char *text,
                                       vl2_error *err);
/* Takes n messages away, from `first` on. */
void cli_conversation_remove(cli_conversation *conversation, size_t first, size_t n);
/* The prompt of all messages. */
vl2_status cli_conversation_prompt(vl2_prompt **out, const cli_conversation *conversation,
                                   const vl2_engine *engine, bool add_image_tags, vl2_error *err);
/* The last picture and its index over the conversation; NULL: there is none. */
const vl2_picture *cli_conversation_last_picture(const cli_conversation *conversation,
                                                 size_t *index);
vl2_status cli_conversation_write(vl2_buf *out, const cli_conversation *conversation,
                                  vl2_error *err);
/* All of stdin, at most max_bytes; NUL-terminated behind *size (vl2_mem_free). */
vl2_status cli_conversation_stdin(char **out, size_t *size, size_t max_bytes, vl2_error *err);

#endif
