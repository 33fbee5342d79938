-- Every statement the daemon runs on its tables, by name. `:name` is a parameter.

-- name: list_pools
-- All pools, by id.
SELECT pool_id, pool_name, description, enabled, weight, created_at, updated_at
FROM pools
ORDER BY pool_id;

-- name: get_pool
-- One pool.
SELECT pool_id, pool_name, description, enabled, weight, created_at, updated_at
FROM pools
WHERE pool_id = :pool_id;

-- name: insert_pool
-- A new pool; the times are the database's.
INSERT INTO pools (pool_id, pool_name, description, enabled, weight)
VALUES (:pool_id, :pool_name, :description, :enabled, :weight);

-- name: describe_pool
-- What people call a pool, and what it is for.
UPDATE pools
SET pool_name = :pool_name, description = :description, updated_at = CURRENT_TIMESTAMP
WHERE pool_id = :pool_id;

-- name: set_pool_enabled
-- Enable or disable a pool.
UPDATE pools
SET enabled = :enabled, updated_at = CURRENT_TIMESTAMP
WHERE pool_id = :pool_id;

-- name: set_pool_weight
-- A pool's share among pools.
UPDATE pools
SET weight = :weight, updated_at = CURRENT_TIMESTAMP
WHERE pool_id = :pool_id;

-- name: delete_pool
-- Forget a pool; its VMs are gone from it.
DELETE FROM pools WHERE pool_id = :pool_id;

-- name: list_vms
-- All VMs in the order in which they are shown; those without a pool last.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_burst, max_queue_depth,
    peer, created_at, updated_at
FROM vms
ORDER BY pool_id NULLS LAST, priority DESC, vm_id;

-- name: get_vm
-- One VM by its UUID.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_burst, max_queue_depth,
    peer, created_at, updated_at
FROM vms
WHERE vm_uuid = :vm_uuid;

-- name: get_vm_by_id
-- The VM that holds a vm_id.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_burst, max_queue_depth,
    peer, created_at, updated_at
FROM vms
WHERE vm_id = :vm_id;

-- name: list_vms_by_name
-- The VMs of a name; names need not be unique.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_burst, max_queue_depth,
    peer, created_at, updated_at
FROM vms
WHERE vm_name = :vm_name
ORDER BY vm_id;

-- name: next_vm_id
-- The id after the highest; once that is used up, the lowest that is free above another one or 1.
SELECT CASE
    WHEN coalesce(max(vm_id), 0) < 2147483647 THEN coalesce(max(vm_id), 0) + 1
    WHEN NOT EXISTS (SELECT 1 FROM vms WHERE vm_id = 1) THEN 1
    ELSE (
        SELECT min(held.vm_id) + 1
        FROM vms AS held
        WHERE NOT EXISTS (SELECT 1 FROM vms AS above WHERE above.vm_id = held.vm_id + 1)
    )
END AS vm_id
FROM vms;

-- name: insert_vm
-- A new VM; the times are the database's.
INSERT INTO vms (
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_burst,
    max_queue_depth, peer
)
VALUES (
    :vm_uuid, :vm_id, :vm_name, :pool_id, :priority, :weight, :max_jobs_per_sec, :max_burst,
    :max_queue_depth, :peer
);

-- name: set_vm_shares
-- What a VM may have of the device: its weight and its limits.
UPDATE vms
SET
    weight = :weight,
    max_jobs_per_sec = :max_jobs_per_sec,
    max_burst = :max_burst,
    max_queue_depth = :max_queue_depth,
    updated_at = CURRENT_TIMESTAMP
WHERE vm_uuid = :vm_uuid;

-- name: set_vm_place
-- Where a VM belongs, and by which number it goes.
UPDATE vms
SET pool_id = :pool_id, priority = :priority, vm_id = :vm_id, updated_at = CURRENT_TIMESTAMP
WHERE vm_uuid = :vm_uuid;

-- name: unassign_vms
-- The VMs of a pool belong to none.
UPDATE vms
SET pool_id = NULL, updated_at = CURRENT_TIMESTAMP
WHERE pool_id = :pool_id;

-- name: delete_vm
-- Forget a VM and its quarantine.
DELETE FROM vms WHERE vm_uuid = :vm_uuid;

-- name: list_quarantines
-- The last quarantine of every VM that ever had one.
SELECT vm_uuid, number, active, reason, since
FROM vm_quarantine
ORDER BY vm_uuid;

-- name: get_quarantine
-- The last quarantine of one VM, if it ever had one.
SELECT vm_uuid, number, active, reason, since
FROM vm_quarantine
WHERE vm_uuid = :vm_uuid;

-- name: set_quarantine
-- Keep the last quarantine of a VM; without a time it is of now.
INSERT INTO vm_quarantine (vm_uuid, number, active, reason, since)
VALUES (:vm_uuid, :number, :active, :reason, coalesce(:since, CURRENT_TIMESTAMP))
ON CONFLICT (vm_uuid) DO UPDATE SET
    number = excluded.number,
    active = excluded.active,
    reason = excluded.reason,
    since = excluded.since;

-- name: append_audit
-- Record who asked for what and how it ended.
INSERT INTO audit (uid, gid, pid, method, parameters, outcome, error)
VALUES (:uid, :gid, :pid, :method, :parameters, :outcome, :error);

-- name: trim_audit
-- Drop the oldest rows, so that refusals cannot fill the disk.
DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - :kept_rows;

-- name: list_audit
-- The newest audit rows, newest first.
SELECT id, at, uid, gid, pid, method, parameters, outcome, error
FROM audit
WHERE NOT :refused OR outcome <> 'stored'
ORDER BY id DESC
LIMIT :limit;

-- name: list_schema
-- Everything in the database that somebody made, and how.
SELECT type, name, sql
FROM sqlite_schema
WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*';

-- name: record_migration
-- Remember that a migration was applied.
INSERT INTO migrations (version, name) VALUES (:version, :name);
