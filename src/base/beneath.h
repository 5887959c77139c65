/* base/beneath.h - files of one folder, opened for someone who must not get at any other.
 *
 * The check is the opening itself, one lookup that the kernel confines to the folder, so a link that is
 * swapped in between leads nowhere. */
#ifndef VL2_BASE_BENEATH_H
#define VL2_BASE_BENEATH_H

/* A descriptor of the regular file folder/name, to be read and closed; -1: there is none, or the way
 * to it leaves the folder. `name` is relative; links are followed while they stay inside. */
int vl2_beneath_open(const char *folder, const char *name);
/* The same for systems without openat2: part by part, following no link and no "..". */
int vl2_beneath_walk(const char *folder, const char *name);

#endif
