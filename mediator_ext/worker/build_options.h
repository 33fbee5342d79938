/*
 * build_options.h - Which compiler options a guest may give
 */
#ifndef VGPUD_WORKER_BUILD_OPTIONS_H
#define VGPUD_WORKER_BUILD_OPTIONS_H

/**
 * build_options_check() - May a guest give these options?
 * @options: text of the guest, at most MODULE_OPTIONS_BYTES_MAX bytes
 * @refusal: set on -EPERM: a sentence for the build log, malloc'd, the caller's; NULL without
 * memory
 *
 * Allowed are -D NAME, -D NAME=VALUE (a number, a name or an arithmetic expression), -w, -Werror
 * and the -cl- options of OpenCL 1.2 to 3.0.
 *
 * Return: 0 or -EPERM.
 */
int build_options_check(const char *options, char **refusal);

#endif
