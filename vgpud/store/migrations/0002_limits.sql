-- A burst beside the rate of a VM, limits that the database itself keeps in range, and quarantines
-- by number in place of vm_observed.
--
-- The table of VMs is made anew, as SQLite cannot change a CHECK. What refers to it goes first, or
-- dropping it would take those rows along; the triggers come back after the rows, which may be in
-- pools that are disabled.

CREATE TEMPORARY TABLE kept_vms AS SELECT * FROM vms;
CREATE TEMPORARY TABLE kept_quarantines AS
SELECT vm_uuid, coalesce(nullif(quarantine_reason, ''), 'not recorded') AS reason, updated_at AS since
FROM vm_observed
WHERE quarantined = 1;
DROP TABLE vm_observed;
DROP TABLE vms;

CREATE TABLE vms (
    vm_uuid TEXT NOT NULL PRIMARY KEY
        CHECK (
            vm_uuid GLOB
                '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
                || '-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
                || '-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
                || '-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
                || '-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
        ),
    vm_id INTEGER NOT NULL UNIQUE CHECK (vm_id BETWEEN 1 AND 2147483647),
    vm_name TEXT CHECK (length(vm_name) BETWEEN 1 AND 255),
    -- NULL: the VM's pool was deleted by force.
    pool_id TEXT REFERENCES pools (pool_id),
    priority INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
    weight INTEGER NOT NULL DEFAULT 50 CHECK (weight BETWEEN 1 AND 100),
    -- 0: unlimited, as many as max_jobs_per_sec, and the configured default.
    max_jobs_per_sec INTEGER NOT NULL DEFAULT 0 CHECK (max_jobs_per_sec BETWEEN 0 AND 1000000),
    max_burst INTEGER NOT NULL DEFAULT 0 CHECK (max_burst BETWEEN 0 AND 1000000),
    max_queue_depth INTEGER NOT NULL DEFAULT 0 CHECK (max_queue_depth BETWEEN 0 AND 32768),
    -- 'qemu' or 'uid:N': who may connect as this VM.
    peer TEXT NOT NULL DEFAULT 'qemu' CHECK (peer = 'qemu' OR peer GLOB 'uid:[0-9]*'),
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

INSERT INTO vms (
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, max_jobs_per_sec, max_queue_depth, peer,
    created_at, updated_at
)
SELECT
    vm_uuid, vm_id, vm_name, pool_id, priority, weight, min(max_jobs_per_sec, 1000000),
    min(max_queue_depth, 32768), peer, created_at, updated_at
FROM kept_vms;

CREATE INDEX vms_by_pool ON vms (pool_id, priority DESC, vm_id);
CREATE INDEX vms_by_name ON vms (vm_name);

-- A VM may only enter a pool that exists and is enabled. A CHECK cannot look into another table,
-- and the foreign key is off in any connection that does not ask for it.
CREATE TRIGGER vms_pool_usable_on_insert BEFORE INSERT ON vms
WHEN NEW.pool_id IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'vms.pool_id: no such pool')
    WHERE NOT EXISTS (SELECT 1 FROM pools WHERE pool_id = NEW.pool_id);
    SELECT RAISE(ABORT, 'vms.pool_id: the pool is disabled')
    WHERE EXISTS (SELECT 1 FROM pools WHERE pool_id = NEW.pool_id AND enabled = 0);
END;

-- Only a change of pool is judged: a VM that is in a disabled pool can still be changed otherwise.
CREATE TRIGGER vms_pool_usable_on_update BEFORE UPDATE ON vms
WHEN NEW.pool_id IS NOT OLD.pool_id AND NEW.pool_id IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'vms.pool_id: no such pool')
    WHERE NOT EXISTS (SELECT 1 FROM pools WHERE pool_id = NEW.pool_id);
    SELECT RAISE(ABORT, 'vms.pool_id: the pool is disabled')
    WHERE EXISTS (SELECT 1 FROM pools WHERE pool_id = NEW.pool_id AND enabled = 0);
END;

CREATE TABLE vm_quarantine (
    vm_uuid TEXT NOT NULL PRIMARY KEY REFERENCES vms (vm_uuid) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 255),
    since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

INSERT INTO vm_quarantine (vm_uuid, number, active, reason, since)
SELECT vm_uuid, 1, 1, substr(reason, 1, 255), since FROM kept_quarantines;

DROP TABLE kept_vms;
DROP TABLE kept_quarantines;
