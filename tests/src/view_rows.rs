//! Every row of a node's views, as text.

use std::collections::BTreeMap;

use diogenes_common::store::DatabaseUrl;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// The rows of the views by table, in one order for equal rows.
///
/// # Panics
/// When the database can't be read.
pub async fn dump(database: &DatabaseUrl) -> BTreeMap<String, Vec<String>> {
    read(database).await.expect("the views are read")
}

/// The same for a database that may be harmed.
pub async fn read(database: &DatabaseUrl) -> sqlx::Result<BTreeMap<String, Vec<String>>> {
    match database.sqlite_path() {
        Some(path) => of_sqlite(&format!("sqlite://{}", path.display())).await,
        None => of_postgres(&database.to_string()).await,
    }
}

async fn of_sqlite(address: &str) -> sqlx::Result<BTreeMap<String, Vec<String>>> {
    const TABLES: &str =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'view_*'";
    let mut db = SqliteConnection::connect(address).await?;
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut db).await?;
    let mut dump = BTreeMap::new();
    for table in tables {
        let columns = format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')");
        let columns: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(columns)).fetch_all(&mut db).await?;
        let columns = columns.join(" || '|' || ");
        let rows = format!("SELECT {columns} FROM {table} ORDER BY 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut db).await?;
        dump.insert(table, rows);
    }
    db.close().await?;
    Ok(dump)
}

async fn of_postgres(address: &str) -> sqlx::Result<BTreeMap<String, Vec<String>>> {
    const TABLES: &str =
        "SELECT tablename::text FROM pg_tables WHERE starts_with(tablename, 'view_')";
    let mut db = PgConnection::connect(address).await?;
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut db).await?;
    let mut dump = BTreeMap::new();
    for table in tables {
        let rows = format!("SELECT of::text FROM {table} of ORDER BY 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut db).await?;
        dump.insert(table, rows);
    }
    db.close().await?;
    Ok(dump)
}
