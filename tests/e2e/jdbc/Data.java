import java.io.ByteArrayInputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** Types, COPY, large objects, metadata. */
final class Data {
  private static final int PAST_THRESHOLD = 12;

  public static void types() throws Exception {
    try (Connection connection = Checks.connect()) {
      byte[] bytes = new byte[1000];
      for (int index = 0; index < bytes.length; index++) bytes[index] = (byte) index;
      UUID uuid = UUID.fromString("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9");
      Timestamp timestamp = Timestamp.valueOf("2024-02-29 12:34:56.789012");
      OffsetDateTime moment = OffsetDateTime.parse("2024-02-29T12:34:56.789012Z");
      String sql = "select ?::int[], ?::bytea, ?::timestamp, ?::timestamptz, ?::numeric, ?::uuid, ?::float8, ?::text, ?::bool, null::int";
      try (PreparedStatement statement = connection.prepareStatement(sql)) {
        for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
          statement.setArray(1, connection.createArrayOf("int4", new Integer[] {1, null, turn}));
          statement.setBytes(2, bytes);
          statement.setTimestamp(3, timestamp);
          statement.setObject(4, moment);
          statement.setBigDecimal(5, new BigDecimal("12345678901234567890.0987654321"));
          statement.setObject(6, uuid);
          statement.setDouble(7, 0.1 + 0.2);
          statement.setString(8, "é€😀'\"\\");
          statement.setBoolean(9, true);
          try (ResultSet row = statement.executeQuery()) {
            row.next();
            Checks.equal(Arrays.asList(1, null, turn), Arrays.asList((Object[]) row.getArray(1).getArray()));
            Checks.check(Arrays.equals(bytes, row.getBytes(2)), "bytes");
            Checks.equal(timestamp, row.getTimestamp(3));
            Checks.check(moment.isEqual(row.getObject(4, OffsetDateTime.class)), "moment");
            Checks.equal(new BigDecimal("12345678901234567890.0987654321"), row.getBigDecimal(5));
            Checks.equal(uuid, row.getObject(6));
            Checks.equal(0.1 + 0.2, row.getDouble(7));
            Checks.equal("é€😀'\"\\", row.getString(8));
            Checks.equal(true, row.getBoolean(9));
            Checks.equal(0, row.getInt(10));
            Checks.check(row.wasNull(), "null");
          }
        }
      }
    }
  }

  public static void textArraysOfEnums() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop type if exists mood cascade", "create type mood as enum ('sad', 'happy')");
      for (int turn = 0; turn < PAST_THRESHOLD; turn++) {
        try (PreparedStatement statement = connection.prepareStatement("select ?::mood[]")) {
          statement.setArray(1, connection.createArrayOf("mood", new String[] {"happy", "sad"}));
          try (ResultSet row = statement.executeQuery()) {
            row.next();
            Array array = row.getArray(1);
            Checks.equal("mood", array.getBaseTypeName());
            Checks.equal("{happy,sad}", array.toString());
          }
        }
      }
    }
  }

  public static void copyManager() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists jdbc_copied", "create table jdbc_copied (n int, t text)");
      CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
      StringBuilder lines = new StringBuilder();
      for (int number = 0; number < 20_000; number++) lines.append(number).append("\trow ").append(number).append('\n');
      Checks.equal(20_000L, copy.copyIn("copy jdbc_copied from stdin", new StringReader(lines.toString())));
      StringWriter out = new StringWriter();
      Checks.equal(20_000L, copy.copyOut("copy (select * from jdbc_copied order by n) to stdout", out));
      Checks.equal(lines.toString(), out.toString());
      Checks.fails("22P02", () -> copy.copyIn("copy jdbc_copied from stdin", new StringReader("no number\tx\n")));
      CopyIn cancelled = copy.copyIn("copy jdbc_copied from stdin");
      byte[] line = "1\tx\n".getBytes(StandardCharsets.UTF_8);
      cancelled.writeToCopy(line, 0, line.length);
      cancelled.cancelCopy();
      connection.setAutoCommit(false);
      copy.copyIn("copy jdbc_copied from stdin", new ByteArrayInputStream(line));
      connection.rollback();
      Checks.equal("20000", Checks.value(connection, "select count(*) from jdbc_copied"));
      connection.commit();
    }
  }

  /** Large objects are read and written with the protocol's FunctionCall. */
  public static void largeObjects() throws Exception {
    try (Connection connection = Checks.connect()) {
      connection.setAutoCommit(false);
      for (int turn = 0; turn < 4; turn++) {
        LargeObjectManager manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
        byte[] bytes = "large object ".repeat(5000).getBytes(StandardCharsets.UTF_8);
        long oid = manager.createLO();
        try (LargeObject object = manager.open(oid, LargeObjectManager.WRITE)) {
          object.write(bytes);
        }
        connection.commit();
        try (LargeObject object = manager.open(oid, LargeObjectManager.READ)) {
          Checks.check(Arrays.equals(bytes, object.read(bytes.length + 10)), "what was written");
        }
        manager.delete(oid);
        connection.commit();
        Checks.fails("42704", () -> manager.open(oid, LargeObjectManager.READ));
        connection.rollback();
      }
    }
  }

  public static void metadata() throws Exception {
    try (Connection connection = Checks.connect()) {
      Checks.execute(connection, "drop table if exists described_by_jdbc",
          "create table described_by_jdbc (id serial primary key, name varchar(20) not null, at timestamptz)");
      DatabaseMetaData metadata = connection.getMetaData();
      Checks.equal(15, metadata.getDatabaseMajorVersion());
      for (int turn = 0; turn < 3; turn++) {
        try (ResultSet tables = metadata.getTables(null, "public", "described_by_jdbc", null)) {
          Checks.check(tables.next() && tables.getString("TABLE_TYPE").equals("TABLE"), "the table");
        }
        Checks.equal("id name at", columnNames(metadata));
        try (ResultSet keys = metadata.getPrimaryKeys(null, "public", "described_by_jdbc")) {
          Checks.check(keys.next() && keys.getString("COLUMN_NAME").equals("id"), "the key");
        }
      }
      try (PreparedStatement statement = connection.prepareStatement("select id, name as called from described_by_jdbc where id = ?")) {
        ResultSetMetaData columns = statement.getMetaData();
        Checks.equal("called", columns.getColumnLabel(2));
        Checks.check(columns.isAutoIncrement(1), "a serial column");
        Checks.equal("int4", statement.getParameterMetaData().getParameterTypeName(1));
      }
    }
  }

  private static String columnNames(DatabaseMetaData metadata) throws SQLException {
    StringBuilder names = new StringBuilder();
    try (ResultSet columns = metadata.getColumns(null, "public", "described_by_jdbc", null)) {
      while (columns.next()) names.append(columns.getString("COLUMN_NAME")).append(' ');
    }
    return names.toString().trim();
  }
}
