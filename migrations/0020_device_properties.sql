-- At which properties each device is used: those of whoever used it last. For the health of a property's devices.

alter table device_sync_status add column property_ids text[] not null default '{}';
