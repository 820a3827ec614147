-- Templates that were put through /templates. Read at each submission that names one, so that an edit counts from its commit
-- on, whichever replica answers.
create table longshore.templates (
    name text primary key constraint template_has_a_name check (name <> '' and octet_length(name) <= 63),
    -- As it was written: comments and all.
    source text not null constraint template_is_not_huge check (octet_length(source) <= 1024 * 1024),
    form text not null constraint template_form_is_known check (form in ('yaml', 'json')),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);
