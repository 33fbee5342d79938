-- The database of vgpud as it is now: the sum of migrations/*.sql, which is what actually runs.
-- Read this one to understand the tables; a test holds both against each other.
--
-- Desired rows (pools, vms) say what should be, and only an administrator changes them. Observed
-- rows (vm_quarantine, audit) say what the daemon found out or did, and live in tables of their own,
-- so that replacing the desired rows never erases them. Times are UTC, 'YYYY-MM-DD HH:MM:SS'.

CREATE TABLE pools (
    -- One letter or digit: it is one byte in the v1 stub framing.
    pool_id TEXT NOT NULL PRIMARY KEY
        CHECK (length(pool_id) = 1 AND pool_id GLOB '[A-Za-z0-9]'),
    pool_name TEXT CHECK (length(pool_name) BETWEEN 1 AND 255),
    description TEXT CHECK (length(description) BETWEEN 1 AND 1024),
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    weight INTEGER NOT NULL DEFAULT 50 CHECK (weight BETWEEN 1 AND 100),
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

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

-- A pool that still has VMs stays, and keeps its id.
CREATE TRIGGER pools_keep_vms_on_delete BEFORE DELETE ON pools
WHEN EXISTS (SELECT 1 FROM vms WHERE pool_id = OLD.pool_id)
BEGIN
    SELECT RAISE(ABORT, 'pools: VMs are assigned to the pool');
END;

CREATE TRIGGER pools_keep_id_on_update BEFORE UPDATE OF pool_id ON pools
WHEN NEW.pool_id IS NOT OLD.pool_id
BEGIN
    SELECT RAISE(ABORT, 'pools.pool_id: cannot change');
END;

-- The last quarantine of a VM that ever had one. The engine's journal has the same number: the higher
-- one is the truth, and of the same one this row.
CREATE TABLE vm_quarantine (
    vm_uuid TEXT NOT NULL PRIMARY KEY REFERENCES vms (vm_uuid) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 255),
    since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

-- One row per change, written in the transaction of the change, and one per refusal.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    method TEXT NOT NULL,
    parameters TEXT NOT NULL CHECK (json_valid(parameters)),
    outcome TEXT NOT NULL CHECK (outcome IN ('stored', 'refused', 'not_applied')),
    error TEXT
) STRICT;

CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
