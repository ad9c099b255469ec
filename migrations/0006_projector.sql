-- The projector: how far each log has been folded into views and published to live streams.

-- One row a lane. Whoever holds the epoch may move the position; a lease that ran out may be taken by anybody, with the next epoch.
create table projector_cursor (
    projection  text        not null,           -- the lane's name: all projections share one
    log         text        not null check (log in ('ledger', 'inbox')),
    position    bigint      not null default 0 check (0 <= position), -- all up to here is in Redis, or missing there as a whole
    epoch       bigint      not null default 0, -- the fencing token
    owner       text,                           -- the instance that holds it, for people
    lease_until timestamptz not null default '-infinity', -- on the database's clock
    primary key (projection, log)
);
insert into projector_cursor (projection, log) values ('views', 'ledger'), ('views', 'inbox');

grant select, update on projector_cursor to backoffice_project;
