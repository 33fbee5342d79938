/*
 * objects.h - What a VM's ids stand for
 *
 * An id means something within one queue pair, one ctx and one kind of object. (The pair belongs to
 * the name: a guest driver may map a pair for one process alone, and what that process made must
 * not be reachable from another pair that names the same ctx.)
 *
 * A table is bounded: its memory is reserved when it is made, and touched as objects come. An
 * object's address is stable until it is removed.
 */
#ifndef VGPUD_WORKER_OBJECTS_H
#define VGPUD_WORKER_OBJECTS_H

#include <stdint.h>

#include "backend.h"
#include "hash.h"

enum object_kind {
    OBJECT_BUFFER = 1,
    OBJECT_MODULE = 2,
    OBJECT_KERNEL = 3,
};

struct object_name {
    uint32_t qp;
    uint32_t ctx;
    uint32_t kind; /* enum object_kind */
    uint32_t id;
};

struct object {
    struct object_name name;
    union {
        struct {
            struct backend_buffer *handle;
            uint64_t bytes;
        } buffer;
        struct {
            struct backend_module *handle;
            struct object *kernels; /* the first of a chain over kernel.next */
            struct hash_key build;  /* the name of its log and binary */
        } module;
        struct {
            struct backend_kernel *handle;
            struct object *next;
            uint32_t args;
        } kernel;
    };
};

struct objects;

/**
 * objects_new() - An empty table
 * @capacity: objects it can hold, 1..2^24
 *
 * Return: a table, to be freed by objects_free(); NULL without memory.
 */
struct objects *objects_new(uint32_t capacity);

/**
 * objects_free() - Free a table; what its objects stand for is the caller's to give back
 * @objects: may be NULL
 */
void objects_free(struct objects *objects);

/**
 * objects_count() - How many objects there are, of all kinds
 * @objects: table
 */
uint32_t objects_count(const struct objects *objects);

/**
 * objects_find() - The object of a name
 * @objects: table
 * @name:    all four parts
 *
 * Return: the object, or NULL.
 */
struct object *objects_find(const struct objects *objects, struct object_name name);

/**
 * objects_add() - A new object under a name
 * @objects: table
 * @name:    a name that objects_find() does not know
 *
 * Return: the object, all zero but its name; NULL when the table is full.
 */
struct object *objects_add(struct objects *objects, struct object_name name);

/**
 * objects_remove() - Forget an object
 * @objects: table
 * @object:  from objects_find() or objects_add(); invalid afterwards
 */
void objects_remove(struct objects *objects, struct object *object);

/**
 * objects_next() - The objects of a kind, one after the other
 * @objects: table; the object last returned, and others of its kind or another, may be removed
 * between
 * @kind:    enum object_kind
 * @cursor:  0 to begin with; moved on
 *
 * Return: an object of that kind, or NULL when there is no further one.
 */
struct object *objects_next(const struct objects *objects, uint32_t kind, uint32_t *cursor);

#endif
