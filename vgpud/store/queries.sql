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

-- name: list_vms
-- All VMs in the order in which they are shown; those without a pool last.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer,
    created_at, updated_at
FROM vms
ORDER BY pool_id NULLS LAST, priority DESC, vm_id;

-- name: get_vm
-- One VM by its UUID.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer,
    created_at, updated_at
FROM vms
WHERE vm_uuid = :vm_uuid;

-- name: get_vm_by_id
-- The VM that holds a vm_id.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer,
    created_at, updated_at
FROM vms
WHERE vm_id = :vm_id;

-- name: list_vms_by_name
-- The VMs of a name; names need not be unique.
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer,
    created_at, updated_at
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
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer
)
VALUES (
    :vm_uuid, :vm_id, :vm_name, :pool_id, :priority, :weight, :max_jobs_per_sec, :max_queue_depth,
    :peer
);

-- name: delete_vm
-- Forget a VM and what was observed about it.
DELETE FROM vms WHERE vm_uuid = :vm_uuid;

-- name: list_observed
-- What was observed, for every VM about which something was.
SELECT vm_uuid, quarantined, quarantine_reason, fault_count
FROM vm_observed
ORDER BY vm_uuid;

-- name: set_observed
-- Keep what the engine found out about a VM.
INSERT INTO vm_observed (vm_uuid, quarantined, quarantine_reason, fault_count)
VALUES (:vm_uuid, :quarantined, :quarantine_reason, :fault_count)
ON CONFLICT (vm_uuid) DO UPDATE SET
    quarantined = excluded.quarantined,
    quarantine_reason = excluded.quarantine_reason,
    fault_count = excluded.fault_count,
    updated_at = CURRENT_TIMESTAMP;

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
