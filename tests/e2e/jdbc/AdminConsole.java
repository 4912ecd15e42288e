import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** AdminConsole PASSWORD PORT: asks the console, as text and prepared; prints "ok". */
final class AdminConsole {
  private static void check(boolean isSo, String what) {
    if (!isSo) throw new AssertionError(what);
  }

  public static void main(String[] arguments) throws SQLException {
    String url = "jdbc:postgresql://127.0.0.1:" + arguments[1]
        + "/pgproxy?user=admin&sslmode=disable&loginTimeout=30&socketTimeout=30&prepareThreshold=2&password=" + arguments[0];
    try (Connection connection = DriverManager.getConnection(url)) {
      try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("show version")) {
        check(rows.next() && rows.getString("version").startsWith("pgproxy "), "version");
      }
      try (PreparedStatement statement = connection.prepareStatement("show clients where application_name = ? and database = ?")) {
        for (int turn = 0; turn < 6; ++turn) { // from the third on it is named, then with binary results
          statement.setString(1, "it's me");
          statement.setString(2, "test");
          try (ResultSet rows = statement.executeQuery()) {
            check(rows.next(), "a row");
            check(rows.getString("user").equals("app") && rows.getInt("wait") == 0, "its values");
            check(rows.getInt("port") > 0 && !rows.next(), "no other");
          }
        }
      }
      try (PreparedStatement statement = connection.prepareStatement("show pools where cl_active = ?")) {
        for (int turn = 0; turn < 6; ++turn) {
          statement.setInt(1, 1);
          try (ResultSet rows = statement.executeQuery()) {
            check(rows.next() && rows.getString("database").equals("test"), "an integer parameter");
          }
        }
      }
      try (Statement statement = connection.createStatement()) {
        statement.executeQuery("show pools where usr = 1");
        check(false, "no such column");
      } catch (SQLException expected) {
        check(expected.getSQLState().equals("42703"), expected.toString());
      }
      try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("show stats")) {
        check(rows.next() && rows.getLong("total_query_count") == 1, "a total");
      }
    }
    System.out.println("ok");
  }
}
