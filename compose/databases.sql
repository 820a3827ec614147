-- For the replica on a kind cluster: another cluster is another installation.
create database longshore_kind;
